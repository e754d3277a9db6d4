"""`logger.experiment` of a run that another process logs: W&B's run, without waiting and without answers."""

from collections.abc import Callable, Mapping
from typing import Any

from galaxy10.training.loggers.wandb_process import WandbProcess

_NOT_FROM_HERE = ("watch", "unwatch", "use_artifact", "use_model", "restore", "finish")


class NullProcess:
    """In place of a `WandbProcess` where nothing is logged: W&B is disabled, or another process of the run logs."""

    facts: Mapping[str, str] = {}

    def call(self, path: tuple[str, ...], *arguments: Any, **keywords: Any) -> None:
        """Leave a call out."""

    def warn_once(self, topic: str, text: str) -> None:
        """Say nothing."""


class RemoteRun:
    """Stands for a `wandb.Run`. Methods (`log`, `define_metric`, `log_artifact`, …) are sent on and return None;
    `config` and `summary` are written likewise, and hold what was written from here.

    id, name, project, entity, group and tags are as the run was given them; url and dir are None until W&B has them.
    """

    _process: WandbProcess | NullProcess
    config: "RemoteDict"
    summary: "RemoteDict"

    def __init__(self, process: WandbProcess | NullProcess, identity: Mapping[str, Any], config: Mapping[str, Any]):
        vars(self).update(
            _process=process,
            config=RemoteDict(process, "config", config),
            summary=RemoteDict(process, "summary"),
            **identity,
        )

    @property
    def url(self) -> str | None:
        """Where the run can be seen; None offline."""
        return self._process.facts.get("url")

    @property
    def dir(self) -> str | None:
        """Where W&B keeps the files of this start."""
        return self._process.facts.get("dir")

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any, **keywords: Any) -> None:
            if name in _NOT_FROM_HERE:
                self._process.warn_once(name, f"experiment.{name} needs the run in its own process: left out")
            else:
                self._process.call((name,), *arguments, **keywords)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)[name] = value
        self._process.call(("__setattr__",), name, value)


class RemoteDict(dict[str, Any]):
    """A run's config or summary: a dictionary whose changes are sent on."""

    _process: WandbProcess | NullProcess
    _name: str

    def __init__(self, process: WandbProcess | NullProcess, name: str, content: Mapping[str, Any] | None = None):
        super().__init__(content or {})
        vars(self).update(_process=process, _name=name)

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(key) from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, *content: Any, allow_val_change: bool | None = None, **more: Any) -> None:
        """Write several keys; those of W&B's config may change their values, as those of the summary do."""
        changes = dict(*content, **more)
        super().update(changes)
        allowed = {"allow_val_change": True} if self._name == "config" else {}
        self._process.call((self._name, "update"), changes, **allowed)

    def setdefaults(self, content: Mapping[str, Any]) -> None:
        """Write the keys that have no value yet."""
        self.update({key: value for key, value in content.items() if key not in self})
