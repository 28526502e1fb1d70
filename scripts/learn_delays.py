#!/usr/bin/env python3
"""Learn the delays of a spiking network from patterns that only delays tell apart, and draw them beside the true ones.

scripts/learn_delays.py --out docs/images/delays.png

Every class has a true delay for each input neuron. In a pattern of the class, each input fires once, that many steps
before the end, so that its spikes arrive together where the delays are right. All weights are equal and fixed, and all
patterns have as many spikes; some are dropped and others added at random.
"""

import argparse
from pathlib import Path

import _checkout  # noqa: F401
import matplotlib
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dcls
from training.cli import cli_errors
from training.extras import require_package

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt

CLASSES, INPUTS, MAX_DELAY = 6, 20, 24
DROPPED, ADDED = 0.1, 0.02
"""Share of a pattern's spikes that are missing, and of the other steps with a spike."""
DECAY, CURRENT = 0.6, 0.1
"""Share of its potential that a neuron keeps from step to step; what one spike adds to it, with a threshold of 1."""
BATCH_SIZE, UPDATES_PER_EPOCH = 64, 10


class DelayNetwork(nn.Module):
    """One spiking neuron per class, behind one delay for each of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch  # an extra

        self.synapses = dcls.Dcls1d(
            INPUTS,
            CLASSES,
            kernel_count=1,
            dilated_kernel_size=MAX_DELAY + 1,
            padding="causal",
            bias=False,
            initial_positions="uniform",
        )
        nn.init.constant_(self.synapses.weight, CURRENT).requires_grad_(False)
        self.neurons = snntorch.Leaky(beta=DECAY)

    def forward(self, spikes: Tensor) -> Tensor:
        """Return the potentials after the last step: (B, INPUTS, steps) -> (B, CLASSES)."""
        potential = self.neurons.reset_mem()
        for current in self.synapses(spikes).unbind(-1):
            _, potential = self.neurons(current, potential)
        return potential


def make_batch(true_delays: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return patterns, (count, INPUTS, MAX_DELAY + 1) of zeros and ones, and their classes."""
    classes = torch.randint(CLASSES, (count,), generator=generator)
    pattern = F.one_hot(MAX_DELAY - true_delays[classes], MAX_DELAY + 1).float()
    kept = torch.rand(count, INPUTS, 1, generator=generator) >= DROPPED
    added = torch.rand(pattern.shape, generator=generator) < ADDED
    return (pattern * kept + added).clamp_max(1), classes


def train(network: DelayNetwork, true_delays: Tensor, epochs: int, generator: torch.Generator) -> None:
    """Learn the delays, with spreads that shrink over the first half of the epochs."""
    schedule = dcls.SpreadSchedule(network, initial=MAX_DELAY / 2, final=0.23, steps=epochs // 2)
    optimizer = torch.optim.Adam([network.synapses.positions], lr=0.2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    dcls.register_clamp_hook(optimizer, network)
    for epoch in range(epochs):
        for _ in range(UPDATES_PER_EPOCH):
            spikes, classes = make_batch(true_delays, BATCH_SIZE, generator)
            loss = F.cross_entropy(network(spikes), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        decay.step()
        if (epoch + 1) % 10 == 0:
            print(
                f"epoch {epoch + 1}  loss {loss.item():.4f}  sigma {schedule.sigma:.2f}  {report(network, true_delays)}"
            )


@torch.no_grad()
def report(network: DelayNetwork, true_delays: Tensor) -> str:
    """Return accuracy with whole-numbered delays, and how many of these are right."""
    spikes, classes = make_batch(true_delays, 1000, torch.Generator().manual_seed(1))
    with dcls.discretized(network):
        accuracy = (network(spikes).argmax(1) == classes).float().mean().item()
        error = (learned_delays(network) - true_delays).abs()
    return (
        f"accuracy {accuracy:.1%}  delays: {(error == 0).float().mean():.1%} right, "
        f"{(error <= 1).float().mean():.1%} within one step"
    )


def learned_delays(network: DelayNetwork) -> Tensor:
    """Return (CLASSES, INPUTS), in steps."""
    return network.synapses.delays.detach()[0, :, :, 0]


def draw(before: Tensor, after: Tensor, true_delays: Tensor, out: Path) -> None:
    """Learned over true delays, before and after training."""
    figure, grid = plt.subplots(1, 2, figsize=(7.6, 3.8), sharey=True, layout="constrained")
    for axes, delays, title in zip(grid, (before, after), ("before training", "after training"), strict=True):
        axes.plot([0, MAX_DELAY], [0, MAX_DELAY], color="0.7", linewidth=1, zorder=0)
        axes.scatter(true_delays.flatten(), delays.flatten(), s=14, alpha=0.7, linewidths=0)
        axes.set(xlabel="true delay, steps", title=title, aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].set_ylabel("learned delay, steps")
    figure.savefig(out, dpi=150)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    options = parser.parse_args()
    with cli_errors():
        require_package("snntorch", "snn", "scripts/learn_delays.py")
        torch.manual_seed(options.seed)
        generator = torch.Generator().manual_seed(options.seed)
        true_delays = torch.randint(MAX_DELAY + 1, (CLASSES, INPUTS), generator=generator)
        network = DelayNetwork()
        before = learned_delays(network)
        print(f"before training: {report(network, true_delays)}")
        train(network, true_delays, options.epochs, generator)
        draw(before, learned_delays(network), true_delays, options.out)
        print(options.out)


if __name__ == "__main__":
    main()
