"""Training of the demonstration network, a small int8 convolutional classifier of Fashion-MNIST images.

``python -m etchnet.host.demo.training --data /usr/share/datasets/fashion-mnist`` trains the network from the four files
of the data set (Debian package dataset-fashion-mnist) with PyTorch (extra "train"). It writes the two files in
`host/data` and prints the accuracy of the integer network on the test set, which is not used for anything else.

Quantisation follows TensorFlow Lite: int8 weights symmetric about 0 with a scale per output channel, int8 activations
with a scale and a zero point per tensor, int32 biases. The result is a `Network` with the contract `tflite-double`.
"""

from __future__ import annotations

import time
from importlib import resources
from pathlib import Path

import click
import numpy as np

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.files import replacing
from etchnet.host.compiler.compile import compile_network
from etchnet.host.data.fashion import Split, read_split
from etchnet.host.demo.architecture import ARCHITECTURE, accuracy
from etchnet.host.demo.float_training import require_torch, train
from etchnet.host.demo.quantisation import quantise
from etchnet.host.network.network import Network

__all__: list[str] = []

_HELD_OUT = 400
_VALIDATION = 5_000


def _summary(network: Network, path: Path, test: Split) -> str:
    cycles = compile_network(network, Config()).counts()[Counter.CYCLES]
    first = Split(test.images[:_HELD_OUT], test.labels[:_HELD_OUT])
    return (
        f"{path.stat().st_size} bytes; per image {network.multiplications} multiplications, and {cycles} cycles on the "
        f"default machine\naccuracy in int8: {accuracy(network, test):.2%} of {len(test.labels)} test images, "
        f"{accuracy(network, first):.2%} of the first {_HELD_OUT}"
    )


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the data set.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.  [host/data]")
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option(
    "--fine-epochs",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Epochs of fine-tuning with rounded values.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="PyTorch threads; they affect results slightly.",
)
def _main(data: Path, output: Path | None, epochs: int, fine_epochs: int, seed: int, threads: int) -> None:
    """Train the demonstration network and write it with its held-out images."""
    torch = require_torch()
    torch.set_num_threads(threads)
    output = output or Path(str(resources.files("etchnet.host.data")))
    try:
        everything, test = read_split(data, "train"), read_split(data, "t10k")
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    training = Split(everything.images[:-_VALIDATION], everything.labels[:-_VALIDATION])
    validation = Split(everything.images[-_VALIDATION:], everything.labels[-_VALIDATION:])
    start = time.perf_counter()
    net = train(ARCHITECTURE, training, epochs=epochs, seed=seed)
    network = quantise(ARCHITECTURE, net, training, epochs=fine_epochs, seed=seed)
    click.echo(f"trained in {(time.perf_counter() - start) / 60:.0f} minutes")
    path = output / "fashion_network.npz"
    network.save(path)
    with replacing(output / "fashion_held_out.npz") as partial:
        images, labels = test.images[:_HELD_OUT], test.labels[:_HELD_OUT].astype(np.uint8)
        np.savez_compressed(partial, images=images, labels=labels)
    click.echo(f"wrote fashion_network.npz and fashion_held_out.npz to {output}")
    network = Network.load(path)
    click.echo(f"accuracy in int8: {accuracy(network, validation):.2%} of {_VALIDATION} images held out of training")
    click.echo(_summary(network, path, test))


if __name__ == "__main__":
    _main()
