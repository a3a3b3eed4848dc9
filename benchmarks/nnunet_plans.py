"""Compare our `nnunet*` recipes with plans that nnU-Net itself made.

    python -m benchmarks.nnunet_plans FILE                 a line per plan that differs, then `N of M plans match`
    python -m benchmarks.nnunet_plans FILE --write OUT     also write our plans for FILE's inputs in FILE's format
    python -m benchmarks.nnunet_plans FILE --golden DIR    also write FILE's plans as records of this project

Exits 0 only when every plan matches in every field, 2 when FILE cannot be read.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from autoseg.core.files import write_bytes
from benchmarks.nnunet_figures import GoldenPlans, fingerprint_of, planned_figures
from benchmarks.nnunet_file import FileCase, FileConfiguration, FilePlan, PlanFile
from benchmarks.nnunet_words import from_file, to_file


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nnunet_plans", description=__doc__)
    parser.add_argument("file", type=Path, help="plans in the format described in benchmarks/nnunet_file.py")
    parser.add_argument("--write", type=Path, metavar="OUT", help="write our plans in the same format")
    parser.add_argument("--golden", type=Path, metavar="DIR", help="write FILE's plans as golden records")
    options = parser.parse_args(arguments)
    try:
        theirs = msgspec.json.decode(options.file.read_bytes(), type=PlanFile)
        ours = PlanFile(about=theirs.about, cases={name: planned(name, case) for name, case in theirs.cases.items()})
    except (OSError, msgspec.DecodeError, ValueError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 2
    total = sum(len(case.plans) for case in theirs.cases.values())
    lines = list(differing_plans(ours, theirs))
    for line in lines:
        print(line)
    print(f"{total - len(lines)} of {total} plans match")
    if options.write is not None:
        write_bytes(options.write, msgspec.json.format(msgspec.json.encode(ours), indent=1))
    if options.golden is not None:
        write_golden(theirs, options.golden)
    return 1 if lines else 0


def planned(name: str, case: FileCase) -> FileCase:
    """Return the case with our plans in place of its own."""
    golden = golden_of(name, case)
    return FileCase(
        input=case.input, plans={variant: to_file(planned_figures(golden, variant)) for variant in case.plans}
    )


def golden_of(name: str, case: FileCase) -> GoldenPlans:
    """Return a case of a file as a record of this project."""
    return GoldenPlans(
        fingerprint=fingerprint_of(name, case.input),
        spacing_mm=case.input.overwrite_target_spacing,
        plans=tuple(from_file(variant, plan) for variant, plan in case.plans.items()),
    )


def differing_plans(ours: PlanFile, theirs: PlanFile) -> Iterator[str]:
    """Yield one line for each plan that differs: which, and each field with our value and theirs."""
    for name, case in theirs.cases.items():
        for variant, plan in case.plans.items():
            found = list(differences(ours.cases[name].plans[variant], plan))
            if found:
                yield f"{name} {variant}: {'; '.join(found)}"


def differences(ours: FilePlan, theirs: FilePlan) -> Iterator[str]:
    """Yield `field: ours X, theirs Y` for each field of a plan that differs."""
    if ours.transpose_forward != theirs.transpose_forward:
        yield f"transpose_forward: ours {list(ours.transpose_forward)}, theirs {list(theirs.transpose_forward)}"
    for name in sorted({*ours.configurations, *theirs.configurations}):
        mine, other = ours.configurations.get(name), theirs.configurations.get(name)
        if mine is None or other is None:
            yield f"{name}: ours {_presence(mine)}, theirs {_presence(other)}"
            continue
        for field in mine.__struct_fields__:
            x, y = getattr(mine, field), getattr(other, field)
            if x != y:
                yield f"{name}.{field}: ours {plain(x)}, theirs {plain(y)}"


def _presence(configuration: FileConfiguration | None) -> str:
    return "absent" if configuration is None else "present"


def plain(value: object) -> str:
    """Return a value as JSON."""
    return msgspec.json.encode(value).decode()


def write_golden(theirs: PlanFile, folder: Path) -> None:
    """Write one compact record a case into `folder`."""
    for name, case in theirs.cases.items():
        record = {"schema": GoldenPlans.schema, **msgspec.to_builtins(golden_of(name, case))}
        write_bytes(folder / f"{name}.json", msgspec.json.encode(record) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
