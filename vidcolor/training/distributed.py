"""One process or several under `torchrun`: who takes which part, and sums over all.

The same training runs on one process, on several CPU processes (gloo) and on several GPUs (nccl);
the ranks' parts of a batch together are the batch that one process would take.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import TrainingError
from ..models import ColorModel

_TIMEOUT = timedelta(hours=4)  # the first rank may download and decode while the others wait


def is_leader() -> bool:
    """Whether this process is the one that speaks, by what `torchrun` has set."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Team:
    """This process among the processes of a training.

    Attributes:
        rank: 0 to world - 1; rank 0 writes the files.
        world: number of processes.
        device: where this process trains.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def share(self, module: nn.Module) -> nn.Module:
        """`module`, its gradients averaged over the team."""
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, find_unused_parameters=True)

    def synchronized(self, model: ColorModel) -> ColorModel:
        """`model` with batch norms over the whole batch, where the backend can (GPUs)."""
        if self.world == 1 or self.device.type != "cuda":
            return model
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        assert isinstance(converted, ColorModel)  # its layers are changed in place
        return converted

    def sums(self, values: list[float]) -> list[float]:
        """The sums of `values` over the team, the same on every rank."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def same_buffers(self, module: nn.Module) -> None:
        """Give every rank the first one's buffers: between CPUs each has batch norm statistics of
        its own parts."""
        if self.world > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def join(device: str) -> Iterator[Team]:
    """Join the team `torchrun` has set up in the environment, or be one process.

    Args:
        device: `cpu`, `cuda`, `cuda:N` or `mps`; with several GPUs each local rank takes its own.

    Raises:
        TrainingError: another process of the team has gone.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Team(0, 1, torch.device(device))
        return
    chosen = torch.device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield Team(int(os.environ["RANK"]), world, chosen)
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in ("gloo", "nccl", "connection")):
            raise
        raise TrainingError("another process of this training stopped; see its message") from error
    finally:
        dist.destroy_process_group()
