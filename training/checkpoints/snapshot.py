"""The state of a run as plain values, for a checkpoint, and back: what continues from it ends in the same bits."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcls.checkpoints.loading import load_exactly
from dcls.checkpoints.reading import BETTER_WEIGHTS
from dcls.errors import UserError
from training.metrics import better_weights
from training.processes.distributed import DistributedContext
from training.state import EpochProgress, TrainState

_KINDS: dict[str, type | tuple[type, ...]] = {
    "state_dict": dict,
    "optimizer": dict,
    "scaler": dict,
    "epoch": int,
    "updates": int,
    "best_top1": float,
    "history": list,
    "progress": (dict, type(None)),
}
_LOG = ("log_size", "log_checksum")


def gather_parts(state: TrainState, distributed: DistributedContext) -> list[dict[str, Any]]:
    """Collect in the first process what differs between the processes in the middle of an epoch; call it in all."""
    assert state.progress is not None
    part: dict[str, Any] = {name: getattr(state.progress, name) for name in ("images", "replaced", "waited")}
    part["loss"] = state.progress.loss.item()
    if distributed.world_size > 1:  # every process has seen other images, and batch norm counts what it has seen
        part["buffers"] = _buffers(state.model)
        part["buffers_ema"] = {} if state.ema is None else _buffers(state.ema.module)
    return distributed.gather(part)


def take(state: TrainState, parts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return what a checkpoint must hold to continue.

    Args:
        parts: In the middle of an epoch, from ``gather_parts``.
    """
    progress = None
    if parts is not None:
        assert state.progress is not None
        progress = {
            "updates": state.progress.updates,
            "learning_rate": state.progress.learning_rate,
            "seconds": state.progress.seconds,
            "parts": parts,
        }
    content = {
        "state_dict": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "epoch": state.epoch,
        "updates": state.updates,
        "best_top1": state.best_top1,
        "history": state.history,
        "progress": progress,
        **{key: getattr(state, key) for key in _LOG},
    }
    if state.ema is not None:
        content["state_dict_ema"] = state.ema.module.state_dict()
        if progress is None and state.history:
            content[BETTER_WEIGHTS] = {"val": "state_dict", "ema": "state_dict_ema"}[better_weights(state.history[-1])]
    return content


def check(content: dict[str, Any], origin: Path) -> None:
    """Refuse a file from which no run can continue.

    Raises:
        UserError: a part is missing or cannot be.
    """
    for key, kind in _KINDS.items():
        if key not in content:
            raise _damaged(origin, f"it has no {key}")
        if not isinstance(content[key], kind):
            raise _damaged(origin, f"its {key} is {content[key]!r:.40}")
    counts = {"epoch": content["epoch"], "updates": content["updates"], **_known_log(content)}
    if content["progress"] is not None:
        counts["progress"] = content["progress"].get("updates", -1)
    for key, value in counts.items():
        if not isinstance(value, int) or value < 0:
            raise _damaged(origin, f"its {key} is {value!r}")
    if content["updates"] > 0 and not content["optimizer"].get("state") and _has_state(content["optimizer"]):
        raise _damaged(origin, "its optimizer has no state")
    if len(content["history"]) != content["epoch"]:
        raise _damaged(origin, f"it has {len(content['history'])} rows for {content['epoch']} epochs")


def restore(state: TrainState, content: dict[str, Any], origin: Path, distributed: DistributedContext) -> None:
    """Continue from the content of a checkpoint, with the learning rates and weight decays of this run.

    Raises:
        UserError: it belongs to another model or optimizer.
    """
    check(content, origin)
    load_exactly(state.model, content["state_dict"], origin)
    if state.ema is not None:
        load_exactly(state.ema.module, content.get("state_dict_ema", content["state_dict"]), origin)
    # load_state_dict would silently bring back the options of the run that wrote the checkpoint.
    options = [{k: v for k, v in group.items() if k != "params"} for group in state.optimizer.param_groups]
    try:
        state.optimizer.load_state_dict(content["optimizer"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{origin} does not fit the optimizer of this configuration: {error}") from None
    for group, own in zip(state.optimizer.param_groups, options, strict=True):
        group.update(own)
    if content["scaler"]:  # empty where the run had another precision: then this one starts its own
        state.scaler.load_state_dict(content["scaler"])
    state.epoch, state.updates, state.best_top1 = content["epoch"], content["updates"], content["best_top1"]
    state.history = content["history"]
    state.log_size, state.log_checksum = _known_log(content).values()
    state.scheduler.step(state.epoch)
    state.scheduler.step_update(state.updates)
    if content["progress"] is not None:
        _restore_progress(state, content["progress"], distributed)


def _known_log(content: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of metrics.jsonl: nothing where an earlier version wrote the checkpoint."""
    return {key: content.get(key, 0) for key in _LOG}


def _restore_progress(state: TrainState, saved: dict[str, Any], distributed: DistributedContext) -> None:
    parts = saved["parts"]
    if len(parts) == distributed.world_size:
        part = parts[distributed.rank]
        _load_buffers(state.model, part.get("buffers", {}))
        if state.ema is not None:
            _load_buffers(state.ema.module, part.get("buffers_ema", {}))
    elif distributed.is_main:  # other processes than before: the first one has seen it all
        part = {key: sum(part.get(key, 0) for part in parts) for key in ("loss", "images", "replaced")}
        part["waited"] = max(part.get("waited", 0.0) for part in parts)
    else:
        part = {"loss": 0.0, "images": 0}
    device = next(state.model.parameters()).device
    state.progress = EpochProgress(
        learning_rate=saved["learning_rate"],
        loss=torch.tensor(part["loss"], dtype=torch.float64, device=device),
        updates=saved["updates"],
        images=part["images"],
        replaced=part.get("replaced", 0),
        seconds=saved["seconds"],
        waited=part.get("waited", 0.0),
    )


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.detach().cpu() for name, buffer in model.named_buffers()}


@torch.no_grad()
def _load_buffers(model: nn.Module, saved: dict[str, Tensor]) -> None:
    for name, buffer in model.named_buffers():
        if name in saved:
            buffer.copy_(saved[name])


def _has_state(optimizer: dict[str, Any]) -> bool:
    """Whether an optimizer of these options keeps anything: plain SGD does not."""
    return any("betas" in group or group.get("momentum") for group in optimizer.get("param_groups", []))


def _damaged(origin: Path, problem: str) -> UserError:
    return UserError(
        f"{origin} is damaged: {problem}", "continue from another checkpoint, such as best.pt", on_every_rank=True
    )
