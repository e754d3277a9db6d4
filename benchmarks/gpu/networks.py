"""Steps 1 and 8: compare one training step of each network, and augmentation, on the card and on the CPU."""

import platform
import subprocess
import time
from typing import Any

import torch
from internals import STD, augmentation_of, build_network, input_px, network_loss, normal, sample_keys, uniform
from step import Step, main

NETWORKS = {
    "simple_cnn": ("model=simple_cnn",),
    "d4_cnn": ("model=d4_cnn",),
    "resnet50": ("model=resnet50",),
    "inceptionv3": ("model=inceptionv3",),
    "efficientnet_lite0": ("model=efficientnet_lite0",),
    "convnext_tiny": ("model=timm", "model.backbone=convnext_tiny"),
    "vit_small_patch16_224": ("model=timm", "model.backbone=vit_small_patch16_224"),
}
SMALL_PX = {"d4_cnn": 32, "resnet50": 64, "inceptionv3": 107, "efficientnet_lite0": 64, "convnext_tiny": 64}
TOLERANCE = {"fp32": 0.01, "bf16": 0.1}  # of the loss; README.md says why
SMALL_TOLERANCE = 0.5  # batch norm over few numbers enlarges every rounding
AUGMENTATIONS = ("none", "dihedral", "baseline_cnn", "baseline_transfer", "affine")
GREY_LEVELS = 2.0  # bytes are rounded to integer levels twice at most


def first_steps(step: Step) -> None:
    """Describe the machine, then compare one training step of each network."""
    cuda = torch.cuda.is_available()
    facts(step, cuda)
    for name, overrides in NETWORKS.items():
        torch.manual_seed(0)
        size = f"model.image_size={SMALL_PX[name]}" if step.small and name in SMALL_PX else "model.image_size=auto"
        image_px = {"simple_cnn": 84, "d4_cnn": 128, "inceptionv3": 299}.get(name, 224)
        module = build_network(image_px, *overrides, size).train()
        batch = 4 if step.small else 8
        inputs = smooth(batch, input_px(module)).to(memory_format=torch.channels_last)
        labels = torch.arange(batch) % 10
        state = scaled(module, inputs)
        reference = one_step(module, state, inputs, labels, "cpu", "fp32")
        for precision in ("fp32", "bf16"):
            if not cuda and precision == "fp32":
                continue  # it is the reference
            found = one_step(module, state, inputs, labels, "cuda" if cuda else "cpu", precision)
            difference = abs(found["loss"] - reference["loss"])
            step.row(
                f"{name}, {precision} on the {'card' if cuda else 'CPU'} compared with fp32 on the CPU",
                loss=found["loss"],
                loss_difference=difference,
                logits_relative_error=relative(found["logits"], reference["logits"]),
                gradient_norm_ratio=found["gradient_norm"] / reference["gradient_norm"],
                loss_after_the_step=found["after"],
                seconds_of_the_step=found["seconds"],
            )
            if not found["finite"] or not difference <= (SMALL_TOLERANCE if step.small else TOLERANCE[precision]):
                losses = f"loss {found['loss']:.4f}, on the CPU {reference['loss']:.4f}"
                step.failures.append(f"{name} in {precision}: {losses}{'' if found['finite'] else ', not all finite'}")


def smooth(number: int, size_px: int) -> torch.Tensor:
    """Return random images (N, 3, S, S) without detail.

    Of white noise, deep layers see the mean only, and half a pixel changes everything.
    """
    coarse = torch.randn((number, 3, 8, 8))
    return 2 * torch.nn.functional.interpolate(coarse, size=(size_px, size_px), mode="bicubic")


def facts(step: Step, cuda: bool) -> None:
    """Print rows with versions, the card, and the speed of copies to the card."""
    step.row("versions", python=platform.python_version(), torch=torch.__version__, cuda=torch.version.cuda,
             cudnn=torch.backends.cudnn.version(), cores=torch.get_num_threads())  # fmt: skip
    if not cuda:
        step.skip("card", "this machine has no card")
        return
    about = torch.cuda.get_device_properties(0)
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True)
    step.row(
        "card", name=about.name, memory_gib=about.total_memory / 2**30, capability=f"{about.major}.{about.minor}",
        multiprocessors=about.multi_processor_count, driver=driver.stdout.decode().strip(),
        bf16=torch.cuda.is_bf16_supported(), nccl=".".join(map(str, torch.cuda.nccl.version())),
        tf32_convolutions=torch.backends.cudnn.allow_tf32, tf32_products=torch.backends.cuda.matmul.allow_tf32,
    )  # fmt: skip
    for pinned in (True, False):
        host = torch.randint(0, 255, (2**28,), dtype=torch.uint8, pin_memory=pinned)
        rates = []
        for _ in range(4):
            torch.cuda.synchronize()
            start = time.perf_counter()
            host.to("cuda", non_blocking=True)
            torch.cuda.synchronize()
            rates.append(0.25 / (time.perf_counter() - start))
        step.row(f"host to card, {'pinned' if pinned else 'pageable'} memory", gib_per_s=max(rates))


def scaled(module: Any, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return weights whose logits have a standard deviation of 1; with the small initial ones, any loss is ln 10."""
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        spread = float(module(inputs).std())
    for name, tensor in before.items():
        if tensor.ndim == 2 and tensor.shape[0] == 10:
            before[name] = tensor / spread
    return before


def one_step(
    module: Any, state: dict[str, torch.Tensor], inputs: torch.Tensor, labels: torch.Tensor, device: str, precision: str
) -> dict[str, Any]:
    """Run forward, backward, AdamW and forward again, from given weights."""
    module.load_state_dict(state)
    module.to(device)
    inputs, labels = inputs.to(device), labels.to(device)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
    start = time.perf_counter()
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
        loss, logits = network_loss(module, inputs, labels)
    loss.backward()
    gradient_norm = float(torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None]))
    optimizer.step()
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
        after = float(network_loss(module, inputs, labels)[0])
    seconds = time.perf_counter() - start
    finite = all(bool(torch.isfinite(p).all()) for p in module.parameters())
    module.zero_grad(set_to_none=True)
    module.to("cpu")
    values = torch.tensor([loss.item(), gradient_norm, after])
    return {
        "loss": loss.item(),
        "logits": logits.detach().float().cpu(),
        "gradient_norm": gradient_norm,
        "after": after,
        "seconds": seconds,
        "finite": finite and bool(torch.isfinite(values).all()),
    }


def relative(found: torch.Tensor, reference: torch.Tensor) -> float:
    """Return ‖found − reference‖ ÷ ‖reference‖."""
    return float((found - reference).norm() / reference.norm())


def augmentation(step: Step) -> None:
    """Compare draws and augmented images on card and CPU, from the same seeds; without a card, one image at a time."""
    cuda = torch.cuda.is_available()
    number, size_px = (6, 64) if step.small else (64, 224)
    torch.manual_seed(0)
    images = (smooth(number, step.image_px) * 40 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    rows = torch.arange(number)
    keys = sample_keys(0, 1, rows)
    compared = "card compared with CPU" if cuda else "CPU, one image at a time compared with the whole batch"

    def elsewhere(function: Any, *tensors: torch.Tensor) -> torch.Tensor:
        if cuda:
            return function(*(tensor.cuda() for tensor in tensors)).cpu()
        return torch.cat([function(*(tensor[i : i + 1] for tensor in tensors)) for i in range(number)])

    for name, draw in (("uniform", uniform), ("normal", normal)):
        difference = (elsewhere(lambda key, draw=draw: draw(key, 10_000), keys) - draw(keys, 10_000)).abs().max()
        step.row(f"{name} draws, {compared}", largest_difference=float(difference))
    grey_levels = 255 * torch.tensor(STD)[:, None, None]
    for augment in AUGMENTATIONS:
        for noise in (0.0, 0.2):
            prepare = augmentation_of(augment, noise, size_px)
            levels = ((elsewhere(prepare, images, rows) - prepare(images, rows)) * grey_levels).abs()
            worst = float(levels.max())
            step.row(f"augment={augment}, noise {noise:g}, {compared}", largest_grey_levels=worst,
                     mean_grey_levels=float(levels.mean()))  # fmt: skip
            if not worst <= GREY_LEVELS:
                step.failures.append(f"augment={augment} differs by {worst:.1f} of 255 grey levels")


if __name__ == "__main__":
    main({"first_steps": first_steps, "augmentation": augmentation})
