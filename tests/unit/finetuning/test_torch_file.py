"""Files in torch's format, and a disk without space for them."""

import errno
import resource
from pathlib import Path

import pytest
import torch

from heo_core.finetuning.torch_file import save_whole


def test_where_there_is_no_space_the_system_says_so_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_whole(torch.zeros(2), path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            save_whole(torch.zeros(100_000), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.errno == errno.EFBIG
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
    assert torch.equal(torch.load(path, weights_only=True), torch.zeros(2))
