"""Training in one process, or in several started by `torchrun`.

The same training runs in one process, in several CPU processes (gloo) and on several GPUs (nccl).
Together the ranks' parts of a batch are the batch that one process would use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import TrainingError
from ..models import ColorModel

_TIMEOUT = timedelta(hours=4)  # rank 0 may download and decode while the others wait


def is_main_process() -> bool:
    """Whether this is the main process (rank 0), by the environment that `torchrun` sets."""
    return os.environ.get("RANK", "0") == "0"


def _with_strides(parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    """`gradient` with the strides of `parameter`.

    Along axes of length 1 torch leaves them as they come, and DistributedDataParallel then warns at
    every such parameter and copies it at every step.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_strided(
        parameter.shape, parameter.stride(), dtype=gradient.dtype, device=gradient.device
    ).copy_(gradient)


@dataclass(frozen=True)
class Distributed:
    """This process and the number of processes in a training.

    Attributes:
        rank: 0 to world - 1.
        world: number of processes.
        device: where this process trains.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and calls the callbacks."""
        return self.rank == 0

    def wrap_ddp(self, module: nn.Module) -> nn.Module:
        """`module` with its gradients averaged over all processes."""
        if self.world == 1:
            return module
        for parameter in module.parameters():
            if parameter.requires_grad and 1 in parameter.shape:
                parameter.register_hook(partial(_with_strides, parameter))
        ids = [self.device.index] if self.device.type == "cuda" else None
        # the graph is the same at every step, also where an objective leaves parameters unused
        return DistributedDataParallel(module, device_ids=ids, static_graph=True)

    def convert_batch_norms(self, model: ColorModel) -> ColorModel:
        """`model` with batch norms over the batch of all processes; on GPUs only."""
        if self.world == 1 or self.device.type != "cuda":
            return model
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        assert isinstance(converted, ColorModel)  # its layers are changed in place
        return converted

    def all_sum(self, values: list[float]) -> list[float]:
        """The sums of `values` over all processes, the same on every rank."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def sync_buffers(self, module: nn.Module) -> None:
        """Copy the buffers of rank 0 to every rank: on CPUs each rank has batch norm statistics of
        its own parts of the batches."""
        if self.world > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def barrier(self) -> None:
        """Wait for every rank."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def init_distributed(device: str) -> Iterator[Distributed]:
    """Join the process group that `torchrun` describes in the environment; without it, one process.

    Args:
        device: `cpu`, `cuda`, `cuda:N` or `mps`; with several GPUs each local rank uses its own.

    Raises:
        TrainingError: another process of the group stopped.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Distributed(0, 1, torch.device(device))
        return
    chosen = torch.device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield Distributed(int(os.environ["RANK"]), world, chosen)
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in ("gloo", "nccl", "connection")):
            raise
        raise TrainingError("another process of this training stopped; see its message") from error
    finally:
        dist.destroy_process_group()
