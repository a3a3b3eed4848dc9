"""Files whose names follow a pattern that the user gives: `{case}/img_{channel}.nii.gz`."""

import re
from collections.abc import Mapping
from dataclasses import replace

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import Arrangement, ambiguous, case_of, image_alone, structure_labels
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item, Listing
from autoseg.datasets.names import LABEL_WORDS, has_word
from autoseg.datasets.options import Options, named_patterns

_PLACE = re.compile(r"\{([^{}]*)\}")
_PLACES = frozenset({"case", "channel", "label", "group"})
_PATTERN_OPTION = "--pattern"
Files = dict[str, dict[str, Item]]
"""Case -> channel or structure -> file."""


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the cases of patterns with placeholders, or None when no such pattern is given.

    `--pattern` names the images; without `--labels`, the channels that have a word such as mask or label in their names
    are the labels. `{label}` in `--labels`, or several `NAME=PATTERN`, make one file per structure.

    Raises:
        AutosegError: a pattern has an unknown placeholder or none for the case, matches nothing, or fits two files of
            one case.

    """
    pattern = options.pattern or (options.images if "{" in (options.images or "") else None)
    if pattern is None:
        return None
    groups: dict[str, str] = {}
    images = _matching(listing, pattern, "channel", groups)
    if options.labels is None:
        labels = {case: {k: v for k, v in files.items() if _is_label(k)} for case, files in images.items()}
        images = {case: {k: v for k, v in files.items() if not _is_label(k)} for case, files in images.items()}
        given = ""
    else:
        labels = _labels(listing, options.labels, groups)
        taken = {item.path for files in labels.values() for item in files.values()}
        images = {case: {k: v for k, v in files.items() if v.path not in taken} for case, files in images.items()}
        given = f" with {options.labels}"
    channels = sorted({channel for files in images.values() for channel in files})
    structures = sorted({name for files in labels.values() for name in files})
    if not channels or not structures:
        what = f"{pattern} names no {'label' if channels else 'image'}"
        raise AutosegError.at(listing.folder, what, "say where the labels are with --labels")
    cases, findings = _cases(images, labels, channels, structures)
    said = Inference(what="layout", value=pattern + given, because=_PATTERN_OPTION)
    several = len(structures) > 1
    return Arrangement(
        layout="pattern",
        cases=tuple(replace(case, group=groups.get(case.name, case.group)) for case in cases),
        channels=tuple(channels) if len(channels) > 1 else None,
        labels=structure_labels(structures) if several else None,
        reference_kind="structures" if several else "map",
        inferences=(said,),
        findings=findings,
    )


def _is_label(name: str) -> bool:
    return has_word(name, LABEL_WORDS)


def _labels(listing: Listing, text: str, groups: dict[str, str]) -> Files:
    named = named_patterns(text)
    if not named:
        return _matching(listing, text, "label", groups)
    labels: Files = {}
    for name, pattern in named.items():
        for case, files in _matching(listing, pattern, "label", groups).items():
            labels.setdefault(case, {})[name] = next(iter(files.values()))
    return labels


def _matching(listing: Listing, pattern: str, kind: str, groups: dict[str, str]) -> Files:
    """Return the files that fit a pattern by case and by what `{kind}` is ("" without that placeholder)."""
    compiled = compile_pattern(pattern)
    found: Files = {}
    for item in listing.items:
        match = compiled.fullmatch(str(item.path))
        if match is None:
            continue
        parts = match.groupdict()
        files = found.setdefault(parts["case"], {})
        name = parts.get(kind, "")
        if name in files:
            what = f"{pattern} fits two files of case {parts['case']}"
            raise ambiguous(listing.folder, what, [str(files[name].path), str(item.path)], _PATTERN_OPTION)
        files[name] = item
        if "group" in parts:
            groups[parts["case"]] = parts["group"]
    if not found:
        what = f"no file fits {pattern}"
        raise AutosegError.at(listing.folder, what, f"write it like the paths there, e.g. {listing.items[0].path}")
    return found


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern: placeholders and `*` stand for anything within one part of a path.

    Raises:
        AutosegError: an unknown placeholder, or none for the case.

    """
    names = _PLACE.findall(pattern)
    unknown = [name for name in names if name not in _PLACES]
    if unknown or "case" not in names:
        what = f"no placeholder {{{unknown[0]}}}" if unknown else "has no {case}"
        raise AutosegError.at(f"{_PATTERN_OPTION} {pattern}", what, "use {case} and, if wanted, {channel} and {group}")
    seen: set[str] = set()
    text = ""
    for index, part in enumerate(_PLACE.split(pattern)):
        if index % 2 == 0:
            text += re.escape(part).replace(r"\*", "[^/]*")
        else:
            text += f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+)"
            seen.add(part)
    return re.compile(text)


def _cases(
    images: Files, labels: Mapping[str, Mapping[str, Item]], channels: list[str], structures: list[str]
) -> tuple[list[Case], tuple[Finding, ...]]:
    cases: list[Case] = []
    findings: list[Finding] = []
    for name, files in images.items():
        if not files:
            continue
        first = next(iter(files.values()))
        missing = [channel for channel in channels if channel not in files]
        drawn = labels.get(name, {})
        if missing:
            what = f"channel {missing[0]} of {name} is missing"
            findings.append(Finding(severity="error", where=str(first.path), what=what, mend="add its file"))
        elif not drawn:
            findings.append(image_alone(first, f"a label of case {name}"))
        else:
            references = tuple(drawn[one].path if one in drawn else None for one in structures)
            cases.append(case_of(name, tuple(files[channel].path for channel in channels), references))
    return cases, tuple(findings)
