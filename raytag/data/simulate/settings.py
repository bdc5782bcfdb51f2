"""What is simulated: the processes on offer and the settings that fix every byte of the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from raytag.data.schema import Flavour
from raytag.errors import RaytagError

__all__ = ["PROCESSES", "Process", "Settings"]

MAX_SEED = 2**31 - 1

# A falling spectrum would fill the lowest bin alone: generate pT^4 too many hard events and ignore their weights.
_FLAT_SPECTRUM = ("PhaseSpace:pTHatMin=20", "PhaseSpace:bias2Selection=on", "PhaseSpace:bias2SelectionPow=4")


@dataclass(frozen=True)
class Process:
    """A hard process, the jets kept from it, and the class to whose spectrum more numerous ones are drawn down.

    ``pt_min`` and ``pt_max`` bound the measured jet pT in GeV; ``commands`` are Pythia8 settings.
    """

    meaning: str
    commands: tuple[str, ...]
    target: Flavour
    pt_min: float = 20.0
    pt_max: float = 250.0


PROCESSES = {
    "ttbar": Process(
        "top pairs, jets of 20 to 250 GeV",
        ("Top:gg2ttbar=on", "Top:qqbar2ttbar=on"),
        Flavour.CJETS,
    ),
    # One broad resonance into every flavour, as the Z' sample with which ATLAS trains at high pT.
    "zprime": Process(
        "broad Z' into quarks and taus, jets of 250 to 3000 GeV",
        (
            "NewGaugeBoson:ffbar2gmZZprime=on",
            "Zprime:gmZmode=3",
            "32:m0=2500",
            "32:mMin=500",
            "32:doForceWidth=on",
            "32:mWidth=1500",
            "32:onMode=off",
            "32:onIfAny=1 2 3 4 5 15",
        ),
        Flavour.CJETS,
        pt_min=250.0,
        pt_max=3000.0,
    ),
    "bb": Process("hard bb pairs, flat in pT", ("HardQCD:hardbbbar=on", *_FLAT_SPECTRUM), Flavour.BJETS),
    "cc": Process("hard cc pairs, flat in pT", ("HardQCD:hardccbar=on", *_FLAT_SPECTRUM), Flavour.CJETS),
    "qcd": Process("all hard QCD, flat in pT", ("HardQCD:all=on", *_FLAT_SPECTRUM), Flavour.UJETS),
}


@dataclass(frozen=True)
class Settings:
    """Everything the simulated bytes depend on.

    Attributes
    ----------
    process
        A key of :data:`PROCESSES`.
    num_jets
        Jets in the three files together: train and val (eventNumber % 10 in 0-7 and 8) after resampling, test (9)
        without it. Where one cannot train on the τ jets among them, the files have so many fewer.
    seed
        Seed of the whole production.
    is_full
        Simulate multi-parton interactions; otherwise minimum-bias events are laid over the hard one (twice as fast).
    events_per_chunk, pool_events
        Size of one piece of work, and of the pool of minimum-bias events that all pieces share.
    """

    process: str
    num_jets: int
    seed: int = 1
    is_full: bool = False
    events_per_chunk: int = 2000
    pool_events: int = 1000

    def __post_init__(self) -> None:
        if self.process not in PROCESSES:
            raise RaytagError(f"--process {self.process}: no such process. There are: {', '.join(PROCESSES)}.")
        if self.num_jets < 1:
            raise RaytagError(f"--jets {self.num_jets}: expected at least 1.")
        if not 0 <= self.seed <= MAX_SEED:
            raise RaytagError(f"--seed {self.seed}: expected 0 to {MAX_SEED}.")

    @property
    def recipe(self) -> Process:
        """The process that ``process`` names."""
        return PROCESSES[self.process]

    def to_dict(self) -> dict[str, str | int | bool]:
        """Return the settings as plain values, as the files and the parts record them."""
        return asdict(self)
