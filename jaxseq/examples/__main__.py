"""``python -m jaxseq.examples``: print the examples, one line each."""

from jaxseq.examples import descriptions


def main() -> None:
    """Print each example's name with its first line."""
    print("Run one with: python -m jaxseq.examples.NAME\n")
    for name, line in descriptions().items():
        print(f"  {name:<18}{line}")


if __name__ == "__main__":
    main()
