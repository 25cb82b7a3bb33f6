"""``concordat calibrate``: what a profile does to accuracy, and what that means in a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.common import Json, check_new, emit, errors, read_file, say, typed, write_new

if TYPE_CHECKING:
    from crypto.profiles import Profile
    from node.samples import Samples


def calibrate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.npz",
            help="Arrays: embeddings, or codes, masks and shape; subject, finger or eye; optionally fit.",
        ),
    ],
    profile: Annotated[
        str,
        typer.Option(metavar="NAME", help="A built-in profile or a profile file; with --fit, also a family."),
    ],
    fit: Annotated[
        bool,
        typer.Option("--fit", help="Fit mean and matrix on half of the people, measure on the others."),
    ] = False,
    gallery: Annotated[
        int, typer.Option(min=1, max=2**33, help="Size of the gallery to be searched.")
    ] = 65536,
    fpir: Annotated[
        float | None,
        typer.Option(
            min=1e-9, max=1.0, help="Choose tau so that a search shows a stranger this often at most."
        ),
    ] = None,
    det: Annotated[
        Path | None, typer.Option(help="Draw the error trade-off as a new file, NAME.svg.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure false matches and non-matches of a profile beside the plain comparator.

    All pairs of rows are compared twice: as templates, and by cosine (vectors) or by the smallest fractional Hamming
    distance over every rotation within reach (codes). FNMR is at the lowest threshold that at most the stated share of
    strangers passes; a template's is never below what 32 roots allow. Intervals are 95 %: people are drawn with
    replacement, with a fixed seed.

    With --fit, half of the people (by a hash of each label; or as the array fit says) are fitted on and not measured.

    False hits in the gallery follow from the tail of the strangers' scores: a generalised Pareto tail on the highest
    0.1 % (100 pairs at least), its shape kept at 0 or above, so that it overstates rather than understates them.
    Above an FPIR of 0.1 there is a warning. Rates rest on the people in the file and on nobody else.
    """
    with typed(json):
        from node.calibration import Calibration
        from node.det_plot import det_svg
        from node.measuring import chosen, fit_rows, score_pairs, usable
        from node.samples import read_samples

        if det is not None:
            check_new(det)
        samples = read_samples(file)
        if fit:
            rows = fit_rows(samples)
            known = _fitted(chosen(samples, rows), profile)
            samples = chosen(samples, ~rows)
        else:
            known = _known(profile)
        rows = usable(samples, known.code.min_valid if known.code else 0)
        pairs = score_pairs(chosen(samples, rows), known, lambda line: errors.print(f"… {line}"))
        found = Calibration(pairs, known.search)
        result = {
            "file": file.name,
            "profile": known.name,
            "fitted": fit,
            "rows": int(rows.sum()),
            "rows_left_out": int((~rows).sum()),
            **found.rates(),
            "at_threshold": found.at(known.search.threshold),
            "roots": known.search.roots,
            **_in_gallery(found, gallery, fpir),
        }
        if det is not None:
            write_new(det, det_svg(found.det(), f"{file.name}, {known.name}").encode())
        emit(json, result, _show)


def _known(name: str) -> Profile:
    from crypto.profiles import MAX_PROFILE_BYTES, load_profile
    from node.profiles import builtin

    path = Path(name)
    return load_profile(read_file(path, MAX_PROFILE_BYTES, "profile")) if path.suffix else builtin(name)


def _fitted(samples: Samples, name: str) -> Profile:
    from crypto.fitting import FAMILIES
    from node.measuring import family_of, fit_samples

    known = None if name in FAMILIES else _known(name)
    form = known.code if known is not None and known.code and known.code.shape == samples.shape else None
    return fit_samples(
        samples,
        name if known is None else family_of(known),
        name=name if known is None else known.name,
        fitted_on="half of the people measured",
        form=form,
        threshold=None if known is None else known.search.threshold,
    )


def _in_gallery(found: Any, gallery: int, wanted: float | None) -> dict[str, Any]:
    """False hits at the profile's threshold, and the threshold that was asked for."""
    from node.calibration import WARN_FPIR

    tail, tau = found.tail(), found.search.threshold
    told: dict[str, Any] = {"gallery": gallery, "warnings": []}
    if tail is None:
        told["warnings"].append("too few pairs of strangers for a tail: false hits are not extrapolated")
        return told
    # Inside what was measured, the measured rate counts.
    measured = found.at(tau)["fmr"]
    share = tail.fmr(tau) if tau > tail.start else measured
    chance = tail.fpir(tau, gallery) if tau > tail.start else 1 - (1 - measured) ** gallery
    told |= {
        "tail": {"start": tail.start, "share": tail.share, "scale": tail.scale, "shape": tail.shape},
        "fmr_extrapolated": share,
        "expected_false_hits": share * gallery,
        "fpir": chance,
    }
    if chance > WARN_FPIR:
        told["warnings"].append(
            f"a search of {gallery} strangers shows somebody with probability {chance:.2g}: above {WARN_FPIR}"
        )
    if wanted is not None:
        best = tail.threshold_for(wanted, gallery, found.search, found.lowest_threshold)
        told["wanted_fpir"] = wanted
        told["chosen"] = None if best is None else {**found.at(best), "fpir": tail.fpir(best, gallery)}
        if best is None:
            told["warnings"].append("no threshold of this profile reaches that FPIR")
    return told


def _show(result: dict[str, Any]) -> None:
    say(f"{result['file']}: {result['rows']} rows, profile {result['profile']}")
    if result["rows_left_out"]:
        say(f"left out for too few usable bits: {result['rows_left_out']} rows")
    say(f"pairs: {result['n_mated']} mated, {result['n_nonmated']} of strangers")
    say("FMR       FNMR plain                 FNMR template              difference in points")
    for name in result["plain"]:
        cells = [
            _share(result[which][name], result[f"{which}_interval"][name])
            for which in ("plain", "template", "difference")
        ]
        say(f"{name:8}  {cells[0]:25}  {cells[1]:25}  {cells[2]}")
    at = result["at_threshold"]
    say(
        f"at tau {at['threshold']}: FNMR {_share(at['fnmr'], at['fnmr_interval'])}, "
        f"FMR {_share(at['fmr'], at['fmr_interval'])}, {result['roots']} roots"
    )
    if "fpir" in result:
        say(
            f"in a gallery of {result['gallery']}: {result['expected_false_hits']:.2g} false hits expected, "
            f"FPIR {result['fpir']:.2g} (extrapolated)"
        )
    if result.get("chosen"):
        best = result["chosen"]
        say(f"FPIR {result['wanted_fpir']:g}: tau {best['threshold']}, FNMR {100 * best['fnmr']:.2f} %")
    for line in result["warnings"]:
        say(f"warning: {line}")


def _share(value: float, interval: list[float]) -> str:
    return f"{100 * value:.2f} % [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"
