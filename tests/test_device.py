# SPDX-License-Identifier: Apache-2.0
"""What runs on a GPU does so: on one that is made up in every run, on a real one where there is one.

``pytest -m gpu tests/test_device.py`` compares a device with float64 on the CPU. The device is that of the environment
variable ``WSS_MONAI_TEST_DEVICE``, else ``cuda:0`` where there is one, else the CPU itself.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pytest
import torch
from device_cases import CASES, FAMILIES, SYNCS, Case
from fake_cuda import DEVICE, FakeCuda, FakeTensor
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from wss_monai.data import BatchLoader, SliceStore
from wss_monai.engines import PrepareTargets
from wss_monai.functional.descriptors import Size
from wss_monai.handlers import BarrierSchedule, EpochLog, LossScaling, SetEpoch, TrainingCheck
from wss_monai.losses import (
    ConstraintLoss,
    ExpansionLoss,
    LogBarrierExtension,
    PartialCrossEntropyLoss,
    PartialDiceCELoss,
    PartialDiceLoss,
    QuadraticPenalty,
    SeedingLoss,
    WeightedSumLoss,
)
from wss_monai.transforms import BatchAugment

CPU = torch.device("cpu")
ALL = [pytest.param(case, id=case.name) for case in CASES]
LOSSES = [pytest.param(case, id=case.name) for case in CASES if case.kind == "loss" and case.bf16 is not None]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*CUDA is not available.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*does not support converting.*:UserWarning"),
]


def real_device() -> torch.device:
    name = os.environ.get("WSS_MONAI_TEST_DEVICE", "")
    return torch.device(name or ("cuda:0" if torch.cuda.is_available() else "cpu"))


@pytest.fixture
def exact_products():
    """Products of a GPU in float32 as such, not in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def as_float64(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def project(leaves: list[Any], device: torch.device) -> Tensor | None:
    """One number that depends on every value that has a gradient."""
    total = None
    for leaf in leaves:
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            weights = torch.linspace(0.5, 1.5, leaf.numel(), dtype=leaf.dtype, device=device).view(leaf.shape)
            part = (leaf * weights).sum()
            total = part if total is None else total + part
    return total


def run(
    case: Case, device: torch.device, double: bool = False, moved: Callable[[], None] = lambda: None
) -> tuple[list[Any], dict[str, Tensor]]:
    """Outputs of a case and the gradients of what wants them; ``moved`` is called when everything is on the device."""
    made = case.make()
    inputs = {key: as_float64(value) if double else value for key, value in made.inputs.items()}
    inputs = {key: value if key in made.host else value.to(device) for key, value in inputs.items()}
    for key in made.wants:
        inputs[key] = inputs[key].detach().requires_grad_()
    if made.module is not None:
        made.module.to(device=device, dtype=torch.float64 if double else None)
    torch.manual_seed(1)
    moved()
    leaves = [leaf for leaf in tree_leaves(made.call(inputs, device)) if isinstance(leaf, Tensor | np.ndarray | float)]
    assert leaves, "the case gives nothing"
    total = project(leaves, device)
    gradients: dict[str, Tensor | None] = {}
    if total is None:
        assert not made.wants, "nothing depends on what wants a gradient"
    else:
        total.backward()
        gradients = {key: inputs[key].grad for key in made.wants}
        assert all(value is not None for value in gradients.values()), "an input gets no gradient"
        if made.module is not None:
            gradients |= {f"parameter {key}": value.grad for key, value in made.module.named_parameters()}
    return leaves, {key: value for key, value in gradients.items() if value is not None}


def plain(value: Any) -> Any:
    """The values on the CPU, whatever holds them."""
    if isinstance(value, FakeTensor):
        return value.held
    return value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(value)


def check_close(found: Any, wanted: Any, rtol: float, name: str, least: float = 0.0) -> None:
    """Alike up to ``rtol`` of the greatest absolute value; what is whole, true or not finite is equal."""
    a, b = plain(found), plain(wanted)
    assert a.shape == b.shape, name
    if not b.is_floating_point():
        assert torch.equal(a, b), name
        return
    a, b = a.double(), b.double()
    known = b.isfinite()
    assert torch.equal(a.nan_to_num(7.0)[~known], b.nan_to_num(7.0)[~known]), f"{name}: values that are not finite"
    a, b = a[known], b[known]
    if b.numel():
        scale = max(float(b.abs().max()), least, 1e-6)
        assert float((a - b).abs().max()) <= rtol * scale, f"{name}: {float((a - b).abs().max())} of {scale}"


def check_alike(
    found: tuple[list[Any], dict[str, Tensor]], wanted: tuple[list[Any], dict[str, Tensor]], rtol: float
) -> None:
    """Outputs one by one; gradients of parameters relative to the greatest of them all, as some are rounding alone."""
    assert len(found[0]) == len(wanted[0]) and found[1].keys() == wanted[1].keys()
    for number, (a, b) in enumerate(zip(found[0], wanted[0], strict=True)):
        check_close(a, b, rtol, f"output {number}")
    least = max((float(plain(g).abs().max()) for key, g in wanted[1].items() if key.startswith("parameter")), default=0)
    for key, value in wanted[1].items():
        check_close(found[1][key], value, rtol, f"gradient of {key}", least if key.startswith("parameter") else 0.0)


def test_names_are_unique_and_budgets_are_of_cases():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(SYNCS) <= set(names)


@pytest.mark.parametrize("case", ALL)
def test_case_on_a_made_up_gpu(case: Case):
    """It runs, stays on the device, gives what the CPU gives, and waits no more often than it may."""
    wanted = run(case, CPU)
    with FakeCuda() as gpu:
        found = run(case, DEVICE, moved=gpu.reset)
        syncs, uploads, places = gpu.syncs, gpu.uploads, dict(gpu.places)
    for number, leaf in enumerate(found[0]):
        assert not isinstance(leaf, Tensor) or leaf.device == DEVICE, f"output {number} is on {leaf.device}"
    for key, value in found[1].items():
        assert value.device == DEVICE, f"the gradient of {key} is on {value.device}"
    check_alike(found, wanted, 1e-4)
    if "WSS_MONAI_SYNCS" in os.environ:
        with open(os.environ["WSS_MONAI_SYNCS"], "a") as file:
            file.write(f"{case.kind}\t{case.name}\t{syncs}\t{uploads}\t{places}\n")
        return
    family = next((waits for pattern, waits in FAMILIES.items() if fnmatch(case.name, pattern)), 0)
    budget = SYNCS.get(case.name, family)
    waits = "\n".join(f"{count} x {what} at {line}" for (kind, what, line), count in places.items() if kind == "syncs")
    assert syncs <= budget, f"the host waits {syncs} times for the device, {budget} are allowed:\n{waits}"


@pytest.mark.gpu
@pytest.mark.parametrize("case", ALL)
def test_case_on_a_device(case: Case, exact_products):
    """Float32 on the device is near float64 on the CPU, or near float32 where a case computes in float32 anyway."""
    device = real_device()
    check_alike(run(case, device), run(case, CPU, double=case.double), case.rtol)


@pytest.mark.gpu
@pytest.mark.parametrize("case", LOSSES)
def test_loss_under_autocast(case: Case):
    """Of bfloat16 logits it is finite, float32 or wider, and near the loss of the same numbers in float32."""
    device = real_device()
    values = []
    for dtype in (torch.bfloat16, torch.float32):
        made = case.make()
        inputs = {key: value.bfloat16().to(dtype) if key in made.wants else value for key, value in made.inputs.items()}
        inputs = {key: value.to(device) for key, value in inputs.items()}
        if made.module is not None:
            made.module.to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            values.append([leaf for leaf in tree_leaves(made.call(inputs, device)) if isinstance(leaf, Tensor)])
    for number, (low, full) in enumerate(zip(*values, strict=True)):
        assert bool(low.isfinite().all()), f"output {number}"
        assert low.dtype in (torch.float32, torch.float64), f"output {number} is {low.dtype}"
        check_close(low, full, case.bf16 or 0.0, f"output {number}", least=1e-2)


# The made-up GPU itself.


@pytest.fixture
def gpu():
    with FakeCuda() as device:
        yield device


def on_gpu(*shape: int) -> Tensor:
    return torch.arange(float(torch.Size(shape).numel())).view(shape).to("cuda:0")


def test_tensors_say_where_they_are(gpu):
    made = [
        on_gpu(2, 3),
        torch.ones(2).cuda(),
        torch.zeros(3, device="cuda"),
        torch.arange(4, device=DEVICE),
        torch.tensor([1.0], device="cuda:0"),
        torch.as_tensor(np.ones(2), device=DEVICE),
        torch.full((2,), 3, device=DEVICE),
        torch.rand(2, generator=torch.Generator(DEVICE).manual_seed(0), device=DEVICE),
        torch.zeros_like(on_gpu(2)),
        on_gpu(2).new_zeros(3),
        on_gpu(2).new_tensor([1.0]),
        torch.eye(2).to(on_gpu(1)),
    ]
    for tensor in made:
        assert tensor.device == DEVICE and tensor.device.type == "cuda" and tensor.is_cuda and not tensor.is_cpu
        assert isinstance(tensor, Tensor)
    for tensor in (made[0].cpu(), made[0].to("cpu"), torch.zeros(2), torch.zeros(2, device="cpu")):
        assert tensor.device == CPU and type(tensor) is Tensor


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: on_gpu(3) + torch.ones(3),
        lambda: torch.ones(3) * on_gpu(3),
        lambda: torch.zeros(3).add_(on_gpu(3)),
        lambda: torch.zeros(()).add_(on_gpu()),
        lambda: torch.cat((on_gpu(3), torch.ones(3))),
        lambda: torch.stack((on_gpu(), torch.ones(()))),
        lambda: torch.where(on_gpu(3) > 1, on_gpu(3), torch.ones(3)),
        lambda: F.conv1d(on_gpu(1, 1, 4), torch.ones(1, 1, 3)),
        lambda: F.grid_sample(on_gpu(1, 1, 2, 2), torch.zeros(1, 2, 2, 2), align_corners=True),
        lambda: on_gpu(3).gather(0, torch.tensor([1])),
        lambda: torch.ones(3)[torch.tensor([1], device=DEVICE)],
        lambda: on_gpu(2, 2) @ torch.ones(2, 2),
        lambda: torch.rand(2, generator=torch.Generator(), device=DEVICE),
        lambda: on_gpu(2).normal_(generator=torch.Generator()),
    ],
)
def test_mixed_devices_are_refused(gpu, wrong):
    with pytest.raises(RuntimeError):
        wrong()


def test_numbers_of_the_cpu_and_its_indices_are_allowed(gpu):
    x = on_gpu(3)
    assert plain(x + torch.tensor(2.0)).tolist() == [2, 3, 4]
    assert plain(torch.where(x > 0, x, torch.tensor(-1.0))).tolist() == [-1, 1, 2]
    assert plain(x[torch.tensor([2, 0])]).tolist() == [2, 0]
    assert plain(x[[1, 0]]).tolist() == [1, 0]
    x[torch.tensor([0])] = 5
    x.copy_(torch.ones(3))
    assert gpu.syncs == 0 and plain(x).tolist() == [1, 1, 1]


def test_no_array_of_a_gpu(gpu):
    for wrong in (lambda: on_gpu(2).numpy(), lambda: np.asarray(on_gpu(2))):
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            wrong()
    assert on_gpu(2).cpu().numpy().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("waits", "count"),
    [
        (lambda x: x[0, 0].item(), 1),
        (lambda x: bool(x.any()), 1),
        (lambda x: int(x.max()), 1),
        (lambda x: float(x.sum()), 1),
        (lambda x: f"{x.sum():.2f}", 1),
        (lambda x: [1, 2][x[0, 0].long()], 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: torch.where(x > 1), 1),
        (lambda x: x[x > 1], 1),
        (lambda x: x.masked_select(x > 1), 1),
        (lambda x: x.unique(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.to("cpu"), 1),
        (lambda x: torch.zeros(2, 3).copy_(x), 1),
        (lambda x: torch.equal(x, x), 1),
        (lambda x: torch.linalg.inv(torch.eye(2, device=x.device)), 1),
        (lambda x: torch.linalg.svdvals(x), 1),
        (lambda x: x[0].repeat_interleave(x[0].long()), 1),
        (lambda x: x[0].repeat_interleave(x[0].long(), output_size=3), 0),
        (lambda x: x.masked_fill(x > 1, 0), 0),
        (lambda x: x.__setitem__(x > 1, 0), 0),
        (lambda x: x.__setitem__(x > 1, x.new_ones(4)), 1),
        (lambda x: torch.where(x > 1, x, 0.0).sum(), 0),
        (lambda x: x.sort().values.cumsum(0), 0),
        (lambda x: F.one_hot(x.long(), 7), 0),
        (lambda x: F.cross_entropy(x, x.new_zeros(2).long()), 0),
        (lambda x: x.quantile(0.5), 0),
    ],
)
def test_waits_are_counted(gpu, waits, count):
    x = on_gpu(2, 3)
    gpu.reset()
    waits(x)
    assert gpu.syncs == count, gpu.places
    assert all(line.startswith("tests/") or "test_device.py" in line for _, _, line in gpu.places)


def test_copies_to_the_device_are_counted(gpu):
    x = on_gpu(2, 3)
    torch.tensor([1.0, 2.0], device=DEVICE)
    x.new_tensor([1.0])
    x.copy_(torch.ones(2, 3))
    assert (gpu.uploads, gpu.syncs) == (4, 0)
    torch.zeros(3, device=DEVICE)
    torch.full((3,), 2.0, device=DEVICE)
    x.to("cuda")
    assert gpu.uploads == 4


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        assert grad.device == x.device
        return grad * x * torch.full((), 2.0, device=x.device)


def test_gradients_are_those_of_the_cpu(gpu):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 1))
    moved = copy.deepcopy(network).to(DEVICE)
    image = torch.randn(2, 1, 9, 8)

    def step(part: nn.Module, x: Tensor) -> Tensor:
        x.requires_grad_()
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=x.is_cuda):
            _Square.apply(part(x)).sum().backward()
        assert x.grad is not None
        return x.grad

    wanted, found = step(network, image.clone()), step(moved, image.to(DEVICE))
    assert found.device == DEVICE
    torch.testing.assert_close(plain(found), wanted)
    for a, b in zip(moved.parameters(), network.parameters(), strict=True):
        assert isinstance(a, nn.Parameter) and a.device == a.grad.device == DEVICE
        torch.testing.assert_close(plain(a.grad), b.grad)
    copied = copy.deepcopy(moved)
    assert all(parameter.device == DEVICE and parameter.requires_grad for parameter in copied.parameters())
    (again,) = torch.autograd.grad(moved(image.to(DEVICE)).sum(), [moved[4].bias])
    assert again.device == DEVICE and gpu.syncs == 0


def test_draws_are_a_function_of_the_seed(gpu):
    draws = [torch.empty(3, device=DEVICE).normal_(generator=torch.Generator(DEVICE).manual_seed(3)) for _ in range(2)]
    assert isinstance(torch.Generator(DEVICE), torch.Generator) and torch.Generator(DEVICE).device == DEVICE
    assert torch.equal(plain(draws[0]), plain(draws[1]))


def test_outside_there_is_no_such_device():
    with FakeCuda():
        x = on_gpu(2)
        with pytest.raises(RuntimeError, match="not to be nested"), FakeCuda():
            pass
    assert x.device == DEVICE and (x + 1).device == DEVICE
    assert type(torch.zeros(2)) is Tensor and type(torch.Generator()).__name__ == "Generator"


@pytest.mark.parametrize(
    ("loss", "key", "wrong"),
    [
        (PartialCrossEntropyLoss(), "class 3, but there are 3 classes", torch.full((2, 1, 4, 4), 3, dtype=torch.uint8)),
        (PartialDiceLoss(), "class 9, but there are 3 classes", torch.full((2, 1, 4, 4), 9, dtype=torch.uint8)),
        (SeedingLoss(), "class 3, but there are 3 classes", torch.full((2, 1, 4, 4), 3, dtype=torch.uint8)),
        (ExpansionLoss(), "tags must be 1, 0 or -1", torch.full((2, 3), 5)),
        (ConstraintLoss(Size(), LogBarrierExtension()), "leave no room", torch.ones(2, 3, 1, 2)),
    ],
)
def test_wrong_targets_on_a_gpu_are_a_message(gpu, loss, key, wrong):
    """Not the end of the process, with an assertion of the device."""
    with pytest.raises(ValueError, match=key):
        loss(torch.zeros(2, 3, 4, 4).cuda(), wrong.cuda())


@pytest.mark.parametrize(
    ("loss", "right"),
    [
        (PartialDiceCELoss(per_sample=True), torch.tensor([[0, 1], [2, 255]], dtype=torch.uint8).repeat(2, 1, 2, 2)),
        (SeedingLoss(), torch.tensor([[0, 1], [2, 255]], dtype=torch.uint8).repeat(2, 1, 2, 2)),
        (ConstraintLoss(Size(), LogBarrierExtension()), torch.tensor([1.0, 9.0]).repeat(2, 3, 1, 1)),
    ],
)
def test_targets_that_were_checked_are_not_waited_for(gpu, loss, right):
    logits, right = torch.randn(2, 3, 4, 4).cuda().requires_grad_(), right.cuda()
    loss(logits, right)
    assert gpu.syncs > 0
    for module in loss.modules():
        module.checked_classes = 3
    gpu.reset()
    loss(logits, right).backward()
    assert gpu.syncs == 0, gpu.places


def batches(plane: int = 12) -> BatchLoader:
    """Slices of three volumes with scribbles, dense labels and bounds."""
    generator = torch.Generator().manual_seed(0)
    cases = []
    for number in range(3):
        label = torch.randint(0, 3, (1, plane, plane, 4), generator=generator, dtype=torch.uint8)
        drawn = torch.rand(label.shape, generator=generator) < 0.2
        cases.append(
            {
                "case": str(number),
                "image": torch.rand(label.shape, generator=generator),
                "label": label,
                "weak_label": torch.where(drawn, label, 255),
                "bounds_size": torch.tensor([5.0, 90.0]).repeat(4, 3, 1, 1),
            }
        )
    return BatchLoader(SliceStore(cases), 4)


def mode_loss(mode: str) -> WeightedSumLoss:
    """The losses of the bundles on partial labels."""
    terms: dict[str, Any] = {"partial": (PartialCrossEntropyLoss(per_sample=True), 1.0)}
    if mode == "full":
        terms = {"dense": (PartialDiceCELoss(target_key="label"), 1.0)}
    if mode in ("quadratic", "logbarrier"):
        penalty = QuadraticPenalty() if mode == "quadratic" else LogBarrierExtension()
        terms["size"] = (ConstraintLoss(Size(), penalty), 0.1)
    return WeightedSumLoss(terms)


@pytest.mark.parametrize("mode", ["full", "partial", "quadratic", "logbarrier"])
def test_an_iteration_waits_for_nothing(gpu, mode, tmp_path):
    """Neither MONAI's trainer nor our handlers, from the batch of the loader on; the first iteration left out."""
    loader, loss = batches(), mode_loss(mode)
    network = UNet(2, 1, 3, (4, 8), (2,), num_res_units=1).to(DEVICE)
    optimizer = torch.optim.Adam(network.parameters())
    waits = []
    trainer = SupervisedTrainer(
        device=DEVICE,
        max_epochs=1,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=PrepareTargets(loss, BatchAugment(3), channels_last=True),
        train_handlers=[
            TrainingCheck(loader, loss, ["background", "a", "b"]),
            LossScaling(),
            SetEpoch(loader),
            BarrierSchedule(loss, 1),
            EpochLog(tmp_path, loss, optimizer, tensorboard=False),
        ],
        decollate=False,
        amp=True,
        amp_kwargs={"dtype": torch.bfloat16},
    )

    def note(engine: Engine) -> None:
        waits.append((gpu.syncs, gpu.blocking, dict(gpu.places)))
        gpu.reset()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    assert len(waits) == 3
    for syncs, blocking, places in waits[1:]:
        assert (syncs, blocking) == (0, 0), places
        assert sum(places.values()) > 0  # copies that nobody waits for
