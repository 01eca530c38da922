"""What the tests of training share: a dozen small images, a short recipe, and a training that is killed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anchorkit.datasets import Dataset, load_dataset
from anchorkit.training import loop as loop_module


@pytest.fixture(scope="session")
def few_shapes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dozen images of shapes to train on."""
    return load_dataset("shapes", train=12, val=4, test=2, cache=tmp_path_factory.mktemp("cache"), progress=False)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable], None]:
    """Calls a training and kills it at the second batch of an epoch."""

    def call(epoch: int, training: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(loop_module, "training_loader", _killing(loop_module.training_loader, epoch))
            with pytest.raises(KeyboardInterrupt):
                training()

    return call


def _killing(make_loader: Callable, epoch_of_death: int) -> Callable:
    """A loader that raises KeyboardInterrupt at the second batch of an epoch."""

    def made(*args: object, **settings: object) -> tuple:
        loader, sampler = make_loader(*args, **settings)
        plain = loader.batch
        seen = []

        def batch(keys: list) -> tuple:
            seen.append(sampler.steps.stop // sampler.per_epoch)
            if seen.count(epoch_of_death) == 2:
                raise KeyboardInterrupt
            return plain(keys)

        loader.batch = batch
        return loader, sampler

    return made
