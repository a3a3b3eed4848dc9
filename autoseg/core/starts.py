"""What a workspace's trainings begin with when they do not begin from nothing: weights copied into its `start/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from autoseg.core.files import is_inside
from autoseg.core.runtime import digest_bytes

START_NAME = "start.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartNetwork:
    """Weights to begin with: of which configuration and fold of the model, and the file that holds them."""

    configuration: str
    fold: int
    file: str
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a file outside the folder of the record."""
        if not is_inside(self.file):
            msg = f"{self.file!a} lies outside the folder"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecord:
    """Where the weights come from. A `model` has its plan beside them; an `encoder` suits any plan with its stages."""

    schema: ClassVar[str] = "autoseg.start/1"

    source: str
    kind: Literal["model", "encoder"]
    networks: tuple[StartNetwork, ...]

    @property
    def digest(self) -> str:
        """SHA-256 that names all of the weights."""
        return digest_bytes("\n".join(network.sha256 for network in self.networks).encode())

    def network(self, configuration: str, fold: int) -> StartNetwork | None:
        """Return what a training begins with: the model's network of that fold, else its first; None without one.

        The same fold, because on the same cases it has not seen those that the new network is validated on.
        """
        if self.kind == "encoder":
            return self.networks[0]
        own = [network for network in self.networks if network.configuration == configuration]
        return next((network for network in own if network.fold == fold), own[0] if own else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What a network began with: the model's name, which parts were taken, and which not, with the reason."""

    source: str
    sha256: str
    taken: tuple[str, ...]
    adapted: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as one line for people."""
        parts = (("taken", self.taken), ("adapted", self.adapted), ("new", self.fresh), ("left out", self.ignored))
        said = "; ".join(f"{word}: {', '.join(found)}" for word, found in parts if found)
        return f"began with {self.source} ({said})"


def start_folder(workspace_root: Path) -> Path:
    """Return the folder of the weights that trainings of a workspace begin with."""
    return workspace_root / "start"
