"""``concordat profile``: how feature vectors become templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.common import Directory, Json, check_new, emit, perform, read_file, say, typed, write_new

app = typer.Typer(help="The rules that turn feature vectors into templates.", no_args_is_help=True)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a built-in profile, or a profile file.")],
    json: Json = False,
) -> None:
    """Show a profile and its digest."""
    with typed(json):
        from crypto.profiles import MAX_PROFILE_BYTES, load_profile
        from node.operations import show_profile
        from node.profiles import builtin

        path = Path(name)
        known = load_profile(read_file(path, MAX_PROFILE_BYTES, "profile")) if path.suffix else builtin(name)
        emit(json, show_profile(known), _show)


@app.command()
def add(
    directory: Directory,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A profile file, as profile fit wrote it.")],
    json: Json = False,
) -> None:
    """Make a profile known to a node, which can then ask under it. gallery import does it too."""
    with typed(json):
        from crypto.profiles import MAX_PROFILE_BYTES, load_profile
        from node.errors import BadConfig

        if file.suffix != ".json":
            raise BadConfig(f"{file}: the name of a profile file ends in .json")
        load_profile(read_file(file, MAX_PROFILE_BYTES, "profile"))
        arguments = {"name": str(file.absolute())}
        emit(json, perform(directory, "profile.show", arguments, as_json=json), _show)


def _show(result: dict[str, Any]) -> None:
    for key, value in result.items():
        say(f"{key:10} {value}")


@app.command()
def fit(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.npz",
            help="Arrays: embeddings, or codes, masks and shape; subject, finger or eye says who each row is.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the new profile.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new file, NAME.json.")],
    family: Annotated[
        str | None,
        typer.Option(
            help="embedding-128, -256 or -512; iris-512 or -1024 (codes); finger-1024. "
            "By default embedding-256, or iris-1024 for codes: iris-512 takes half the time and loses more."
        ),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="face, iris or fingerprint; by default the family's.")
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(help="tau, as calibrate --fpir chose it; by default the family's.")
    ] = None,
    fitted_on: Annotated[str, typer.Option(help="Who these people are, in words.")] = "own people",
    json: Json = False,
) -> None:
    """Fit the mean and the matrix on people who are not searched for.

    When the file has an array fit, only rows where it is true are fitted on: calibrate --fit measures on the others.
    Codes with fewer than half of their bits usable are left out.
    """
    with typed(json):
        from node.measuring import chosen, fit_samples
        from node.operations import show_profile
        from node.samples import read_samples

        check_new(output)
        samples = read_samples(file)
        if samples.fit is not None:
            samples = chosen(samples, samples.fit)
        profile = fit_samples(
            samples,
            family or ("embedding-256" if samples.codes is None else "iris-1024"),
            name=name,
            modality=modality,
            fitted_on=fitted_on,
            threshold=threshold,
        )
        write_new(output, profile.to_bytes())
        emit(json, show_profile(profile), _show)
