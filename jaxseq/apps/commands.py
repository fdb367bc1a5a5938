"""The commands that train nothing: `jaxseq data`, `cells`, `convert` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from jaxseq.apps import catalogue, convert as converting, datasets, doctor as diagnosis
from jaxseq.apps.shown import Shown, show
from jaxseq.cells import CELLS
from jaxseq.errors import InputError, choose


def data(
    action: Positional[str],
    name: Positional[str],
    file: Positional[Path | None] = None,
    sha256: str | None = None,
    json: bool = False,
) -> None:
    """Get a data set from its publisher, or add a copy that you downloaded yourself.

    Example: jaxseq data get cmn-eng

    Example: jaxseq data add cmn-eng cmn-eng.zip

    Args:
      action: get or add.
      name: The data set: cmn-eng, the Tatoeba Mandarin-English pairs of manythings.org.
      file: With add: the archive, or the text inside it.
      sha256: The checksum that the file must have.
      json: Print the result as JSON.
    """
    choose("action", action, {"get": 1, "add": 1})
    if action == "add" and file is None:
        raise InputError(f"data add: which file? For example: jaxseq data add {name} {name}.zip")
    if action == "get" and file is not None:
        raise InputError(f"data get takes no file; to add your copy: jaxseq data add {name} {file}")
    got = datasets.get(name, sha256) if file is None else datasets.add(name, file, sha256)
    text = f"{got.name}: {got.pairs} pairs in {got.path}\nsha256 {got.sha256}\n{got.licence}; {got.attribution}"
    show(Shown({**got._asdict(), "path": str(got.path)}, text), json)


def cells(name: Positional[str | None] = None, markdown: bool = False, latex: bool = False, json: bool = False) -> None:
    """List the recurrent cells; or show one: its equations, its code and where they come from.

    Example: jaxseq cells

    Example: jaxseq cells gru

    Example: jaxseq cells gru --latex

    Args:
      name: A cell.
      markdown: Print the list as a Markdown table.
      latex: Print the equations of the cell in LaTeX, read off its code.
      json: Print as JSON.
    """
    if latex:
        text = catalogue.equations(name)
        show(Shown([{"name": name, "latex": text}], text), json)
        return
    listed = catalogue.table if markdown else catalogue.listing
    text = listed().rstrip() if name is None else catalogue.page(name)
    shown = [cell for cell in CELLS.values() if name in (None, cell.name)] if json else []
    rows = [{**catalogue.entry(cell)._asdict(), "parameters": catalogue.formula(cell)} for cell in shown]
    show(Shown(rows, text), json)


def convert(
    file: Positional[Path],
    # `from` is a keyword of Python, so that only the option can have the name
    library: Annotated[str, arg(name="from")],
    layer: str,
    out: Annotated[Path, arg(aliases=["-o"])],
    prefix: str | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Convert the weights of a recurrent layer of another library, and write them as ours.

    Example: jaxseq convert model.pt --from torch --layer lstm -o lstm.safetensors

    Example: jaxseq convert model.safetensors --from torch --layer gru --prefix encoder.rnn -o gru.safetensors

    Args:
      file: A .safetensors, .npz or torch file (.pt, .pth, .bin, .ckpt) with one array for each name. Torch files
        are read as weights only; one that would run code is refused.
      library: torch, flax-linen, flax-nnx, haiku, equinox or keras.
      layer: Our cell for it, such as rnn, rnn_relu, lstm, gru; gru_cho where the reset comes before the product.
      out: The file to write, safetensors.
      prefix: Start of the layer's names in the file of a larger model, such as encoder.rnn.
      overwrite: Replace the file that is there.
      json: Print the result as JSON.
    """
    show(converting.convert(file, library, layer, out, prefix=prefix, overwrite=overwrite), json)


def doctor(json: bool = False) -> None:
    """Show versions, devices, fonts that cover Chinese, the cache folder, and the packages of each extra.

    Example: jaxseq doctor

    Args:
      json: Print as JSON.
    """
    facts = diagnosis.report()
    show(Shown(facts, diagnosis.render(facts)), json)
