"""From notebooks and values to steps: which parameters each notebook gets, and the key that tells whether it was done.

A step is one notebook with its parameters, executed on the files of the step before it. Its key is a digest of the
notebook's source, its parameters (files and folders by content), the key of the step before, and the kit's version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from anchorkit import __version__
from anchorkit.batch.parameters import Parameter, read_parameters, require_known
from anchorkit.batch.profiles import PROFILES
from anchorkit.bundled import notebooks_dir
from anchorkit.errors import InputError
from anchorkit.runs.onnx_file import is_detector_file, with_absolute_paths
from anchorkit.runs.provenance import content_hash, facts_hash, place_hash
from anchorkit.runs.record import Executed
from anchorkit.suggest import did_you_mean

LESSONS, EXPERIMENTS = ("0[0-9]_*.ipynb", "21_*.ipynb"), ("1[0-9]_*.ipynb", "2[2-9]_*.ipynb")
"""How the notebooks of each kind are named: lessons build on each other in this order, experiments are independent."""
ONNX_LESSON = "08_any_onnx"
"""The lesson about a detector that is only an ONNX file; runs of other detectors leave it out."""
CHANNEL_LESSONS, CHANNEL_RATIO = ("09_channels", "21_channels_and_anchors"), "channel_ratio"
"""The lessons about channels, and the parameter that has to be given for a run to include them."""

_KEY_FORMAT = 1
# Parameters whose value may be a file or folder, by name and by ending.
_PLACES = ("data", "data_root", "weights", "predictions", "ground_truth")
_PLACE_ENDINGS = ("_dir", "_folder", "_root", "_path", "_file", "_predictions", "_ground_truth")


def find_notebooks(folder: str | Path | None, patterns: Sequence[str]) -> list[Path]:
    """The notebooks of one kind in a folder, by default of the shipped ones, in order.

    Args:
        folder: where to look; None for the shipped ones.
        patterns: how they are named, such as `LESSONS`.

    Raises:
        InputError: there are none.
    """
    folder = notebooks_dir() if folder is None else Path(folder)
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    if not found:
        raise InputError(f"{folder}: no notebooks named like {patterns[0][0]}0_name.ipynb")
    return found


def profile_named(name: str) -> Mapping[str, Mapping[str, Any]]:
    """The table of a profile: notebook stem -> parameter -> value.

    Raises:
        InputError: there is no such profile.
    """
    if name not in PROFILES:
        raise InputError(f"unknown profile {name!r}; {did_you_mean(name, PROFILES)}")
    return PROFILES[name]


@dataclass(frozen=True)
class Resolver:
    """Decides which values the parameters of some notebooks get.

    Users set values by ``NAME``, for every notebook that has the parameter, or by ``NOTEBOOK.NAME``.

    Attributes:
        declared: the notebooks' parameters, by stem and name.
        elsewhere: parameters that cannot be set by name, and what to do instead: ``{"run_dir": "use --out for that"}``.
        folder: the folder that relative paths start from; by default the working folder.
    """

    declared: Mapping[str, Mapping[str, Parameter]]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()

    @classmethod
    def of(cls, notebooks: Iterable[Path], elsewhere: Mapping[str, str] | None = None) -> Resolver:
        """The resolver of some notebooks.

        Raises:
            InputError: as `read_parameters`.
        """
        return cls({notebook.stem: read_parameters(notebook) for notebook in notebooks}, elsewhere or {})

    def named(self, name: str, where: str) -> list[Parameter]:
        """The parameters that ``NAME`` or ``NOTEBOOK.NAME`` refers to, one per notebook.

        Raises:
            InputError: there is none, or it is set elsewhere; the message starts with `where`.
        """
        stem, dot, plain = name.rpartition(".")
        if dot and stem not in self.declared:
            raise InputError(f"{where}: {name}: no notebook {stem!r} here; {did_you_mean(stem, self.declared)}")
        if plain in self.elsewhere:
            raise InputError(f"{where}: {plain}: {self.elsewhere[plain]}")
        having = [self.declared[stem]] if dot else list(self.declared.values())
        require_known([plain], {known for parameters in having for known in parameters} - set(self.elsewhere), where)
        return [parameters[plain] for parameters in having if plain in parameters]

    def check(self, name: str, value: Any, where: str) -> Any:
        """The value of ``NAME`` or ``NOTEBOOK.NAME`` in the parameter's type; a path is made absolute.

        Raises:
            InputError: as `named`; the value has another type; or it is a path that does not exist.
        """
        for parameter in self.named(name, where):
            value = parameter.check(value, where)
        return self._place(name.rpartition(".")[2], value, where)

    def parse(self, texts: Iterable[str] | None, where: str = "-p") -> dict[str, Any]:
        """The values of ``NAME=VALUE`` texts from a command line.

        Raises:
            InputError: a text has no ``=``, its name is unknown (with the nearest one) or is given twice, or its value
                has another type.
        """
        values: dict[str, Any] = {}
        for text in texts or ():
            name, equals, value = text.partition("=")
            name = name.strip()
            if not equals:
                raise InputError(f"{where} {text}: NAME=VALUE is needed")
            found = [parameter.parse(value.strip(), where) for parameter in self.named(name, where)]
            if name in values:
                raise InputError(f"{where} {name} is given twice")
            if any(type(each) is not type(found[0]) for each in found):
                raise InputError(f"{where}: {name} has another type in another notebook: give NOTEBOOK.{name}")
            values[name] = found[0]
        return values

    def resolve(
        self,
        given: Mapping[str, Any],
        profile: Mapping[str, Mapping[str, Any]],
        common: Mapping[str, Any] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """All parameters of each notebook, by its stem; the caller sets ``run_dir`` if the notebook has it.

        In rising precedence: the notebook's default, `common`, the profile, a given ``NAME``, a given
        ``NOTEBOOK.NAME``.

        Args:
            given: the user's values; see `check`.
            profile: values by notebook.
            common: values for every notebook that has the parameter.

        Raises:
            InputError: the profile names a parameter that a notebook lacks, or a value has another type.
        """
        resolved: dict[str, dict[str, Any]] = {}
        for stem, parameters in self.declared.items():
            require_known(profile.get(stem, {}), parameters, f"profile, {stem}")
            own = {name.removeprefix(f"{stem}."): value for name, value in given.items() if name.startswith(f"{stem}.")}
            values = {name: parameter.default for name, parameter in parameters.items()}
            for source in (common or {}, profile.get(stem, {}), given, own):
                for name in source.keys() & values.keys():
                    values[name] = parameters[name].check(source[name], stem)
            resolved[stem] = values
        return resolved

    def _place(self, name: str, value: Any, where: str) -> Any:
        """The value, made absolute if it is a path, because notebooks run in another working folder."""
        if name == "onnx_facts":
            return with_absolute_paths(value, self.folder)
        if not isinstance(value, str) or not value:
            return value
        if not (name in _PLACES or name.endswith(_PLACE_ENDINGS) or (name == "detector" and is_detector_file(value))):
            return value
        path = self.folder / Path(value).expanduser()
        written_as_path = "/" in value or value.startswith((".", "~"))
        # Weights have names too, such as "shapes", and a folder of data may have the same name.
        named = name == "weights" and not written_as_path and path.is_dir() and not (path / "detector.json").exists()
        if path.exists() and not named:
            return str(path.resolve())
        if written_as_path or path.suffix:
            raise InputError(f"{where}: {name}: {path}: no such file or folder")
        return value


def asks_for_channels(names: Iterable[str]) -> bool:
    """Whether parameters, by ``NAME`` or ``NOTEBOOK.NAME``, include the one that includes the channel lessons."""
    return any(name.rpartition(".")[2] == CHANNEL_RATIO for name in names)


@dataclass(frozen=True)
class Step:
    """One notebook, to be executed with some parameters.

    Attributes:
        key: 16 hexadecimal digits; with another key the result may differ.
        notebook: the notebook.
        parameters: all of its parameters but ``run_dir``.
        contents: digests of the files and folders that the parameters name, by the parameter's name.
        before: key of the step before it, or a digest of the files that it starts from; None for neither.
        takes_run_dir: whether the notebook has the parameter ``run_dir``.
    """

    key: str
    notebook: Path
    parameters: Mapping[str, Any]
    contents: Mapping[str, str]
    before: str | None
    takes_run_dir: bool = True

    @property
    def name(self) -> str:
        """The notebook's stem."""
        return self.notebook.stem

    def parameters_in(self, run_dir: Path) -> dict[str, Any]:
        """The parameters to execute the notebook with, for a run's folder."""
        return {**({"run_dir": str(run_dir)} if self.takes_run_dir else {}), **self.parameters}

    def differs(self, done: Executed) -> list[str]:
        """The names of parameters whose values, or whose files, were different when the step was done."""
        had = {name: (value, done.contents.get(name)) for name, value in done.parameters.items() if name != "run_dir"}
        has = {name: (value, self.contents.get(name)) for name, value in self.parameters.items()}
        return [name for name in dict.fromkeys((*has, *had)) if had.get(name) != has.get(name)]


def make_step(
    notebook: Path, values: Mapping[str, Any], before: str | None = None, hash_of: Callable[[Path], str] = content_hash
) -> Step:
    """The step of a notebook with its parameters; see `Step`.

    Args:
        notebook: the notebook as it is now.
        values: all of its parameters; of ``run_dir`` only its presence counts.
        before: see `Step`.
        hash_of: gives the digest of a file or folder; see `content_hash`.

    Raises:
        InputError: the notebook, or a file that a parameter names, cannot be read.
    """
    parameters = {name: value for name, value in values.items() if name != "run_dir"}
    texts = {name: value for name, value in parameters.items() if isinstance(value, str) and Path(value).is_absolute()}
    # Files may change while their names do not.
    contents = {
        name: place_hash(Path(value), hash_of) if name in ("data", "detector") else hash_of(Path(value))
        for name, value in texts.items()
        if Path(value).exists()
    }
    facts = {
        "format": _KEY_FORMAT,
        "anchorkit": __version__,
        "notebook": notebook.stem,
        "source": hash_of(notebook),
        "parameters": parameters,
        "contents": contents,
        "before": before,
    }
    return Step(facts_hash(facts)[:16], notebook, parameters, contents, before, "run_dir" in values)


def make_chain(
    notebooks: Sequence[Path], values: Mapping[str, Mapping[str, Any]], hash_of: Callable[[Path], str] | None = None
) -> list[Step]:
    """The steps of notebooks that are executed in order in one folder.

    Args:
        notebooks: in order.
        values: all parameters by stem, as from `Resolver.resolve`.
        hash_of: see `make_step`.
    """
    hash_of = hash_of or cache(content_hash)  # reads a folder of data once, not once per notebook
    steps: list[Step] = []
    for notebook in notebooks:
        before = steps[-1].key if steps else None
        steps.append(make_step(notebook, values[notebook.stem], before, hash_of))
    return steps
