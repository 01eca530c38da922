"""A training in several processes, as accelerate starts them, is one training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import load_file

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

SCRIPT = """
import sys
from pathlib import Path
from accelerate import PartialState
from safetensors.torch import save_file
import anchorkit as ak

out, epochs, batch_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
data = ak.load_dataset("shapes", train=24, val=4, test=4)
detector = ak.load_detector("tiny_ssd", categories=data.categories, size=(96, 96), seed=0)
ak.fit(detector, data, "tiny", epochs=epochs, batch_size=batch_size, out=out / "training", precision="no")
state = PartialState()
save_file(detector.module.state_dict(), out / f"process{state.process_index}of{state.num_processes}.safetensors")
"""


def run(folder: Path, epochs: int, processes: int = 2, batch_size: int = 8) -> subprocess.CompletedProcess[str]:
    """Train as `accelerate launch` does on a machine with so many GPUs, on the CPU."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.run(
        [*launch, folder / "script.py", folder, str(epochs), str(batch_size)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def weights(folder: Path, name: str) -> dict[str, bytes]:
    return {key: value.tobytes() for key, value in load_file(folder / f"{name}.safetensors").items()}


def test_all_processes_end_with_the_same_weights_and_a_seed_repeats_them(tmp_path: Path) -> None:
    whole, repeated = tmp_path / "whole", tmp_path / "repeated"
    done = run(whole, epochs=2)
    assert done.returncode == 0, done.stderr
    assert weights(whole, "process0of2") == weights(whole, "process1of2")
    history = pd.read_csv(whole / "training" / "history.csv")
    assert history["step"].tolist() == [3, 6]  # 24 images in batches of 8: as many steps as in one process
    assert done.stderr.count("training: 100%") >= 1

    again = run(repeated, epochs=2)
    assert again.returncode == 0, again.stderr
    assert weights(repeated, "process0of2") == weights(whole, "process0of2")


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, epochs=1, batch_size=7)
    assert done.returncode != 0
    assert "a batch of 7 images cannot be shared by 2 processes" in done.stderr
