"""Whether an experiment's verdicts are stable: repeat it with other blocks of seeds."""

from __future__ import annotations

from typing import Any

BLOCK = 100
"""Distance between the first seeds of consecutive blocks."""


def stability(every: list[dict[str, Any]]) -> str:
    """Return the verdict on each claim and on each of its parts in each block of seeds, as a Markdown table.

    The verdict on a part has the estimate of its margin with the 95% interval and the effect size (`Row.evidence`).
    Experiments may differ in their number of blocks.

    Args:
      every: the facts of experiments (`report.facts_of`), with those of their other blocks as "blocks".
    """
    most = max(1 + len(facts["blocks"]) for facts in every)
    seeds = {tuple(map(_seeds, [facts, *facts["blocks"]])) for facts in every}
    heads = [f"seeds {one}" for one in seeds.pop()] if len(seeds) == 1 else [f"block {n + 1}" for n in range(most)]
    lines = ["| experiment | part | " + " | ".join([*heads, "same"]) + " |", "|---" * (most + 3) + "|"]
    for facts in every:
        blocks = [facts, *facts["blocks"]]
        verdicts = [block["verdict"] for block in blocks]
        lines.append(_line(f"**{facts['name']}**", "the claim", verdicts, verdicts, most))
        for n, row in enumerate(facts["rows"]):
            if row["verdict"]:
                part = f"{row['what']} {row['claimed']}"
                rows = [block["rows"][n] for block in blocks]
                verdicts = [row["verdict"] for row in rows]
                found = [", ".join(filter(None, (row["verdict"], row["evidence"]))) for row in rows]
                lines.append(_line(facts["name"], part, verdicts, found, most))
    return "\n".join(lines)


def _seeds(facts: dict[str, Any]) -> str:
    return f"{facts['first']} to {facts['first'] + facts['seeds'] - 1}"


def _line(name: str, part: str, verdicts: list[str], cells: list[str], most: int) -> str:
    same = "" if len(verdicts) == 1 else "yes" if len({*verdicts}) == 1 else "no"
    return "| " + " | ".join([name, part.replace("|", "\\|"), *cells, *[""] * (most - len(cells)), same]) + " |"
