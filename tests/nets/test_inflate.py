"""2D weights in video networks: a video that stands still is judged as its frame was, whatever the placement."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stsearch.errors import UserError
from stsearch.nets.build import VideoNet, build
from stsearch.nets.inflate import flat, from_resnet, inflate
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import find_network, paper_networks

CLIP = ClipShape(3, 6, 32, 32)
FRAMES = torch.randn(3, 3, 1, 32, 32, generator=torch.Generator().manual_seed(5))


def two_d(architecture: Architecture, *, seen: int = 4) -> VideoNet:
    """A 2D network whose BatchNorms have scales, shifts and the statistics of some clips of their own."""
    generator = torch.Generator().manual_seed(1)
    network = build(flat(architecture), CLIP, 5, generator=generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(module.bias, -0.3, 0.3, generator=generator)
    for _ in range(seen):
        network(torch.randn(8, 3, 1, 32, 32, generator=generator))
    return network.eval()


def video(architecture: Architecture, classes: int = 5) -> VideoNet:
    return build(architecture, CLIP, classes, generator=torch.Generator().manual_seed(2))


def said(network: VideoNet, frames: int = 6) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network.eval()(FRAMES.expand(-1, -1, frames, -1, -1))
    return found


PAPER = [one for name, one in paper_networks(18).items()]
OTHERS = [
    parse_placement(text) for text in ("3d-3d.2dx1-2plus1dx1-2dx1-3dx1@bottleneck", "2d-2plus1dx2-3dx1-2dx1-3dx1")
]


@pytest.mark.parametrize("architecture", [one.scaled(0.25) for one in [*PAPER, *OTHERS]], ids=lambda one: one.id)
def test_the_middle_tap_is_the_2d_network_on_a_video_that_stands_still(architecture: Architecture) -> None:
    source, target = two_d(architecture), video(architecture)
    found = inflate(source, target, architecture, CLIP, "centre")
    target.load_state_dict(found.state)
    wanted = said(source, 1)
    error = float((said(target) - wanted).abs().max())
    if architecture.stem == "2plus1d":
        assert list(found.kept) == ["stages.conv1.0.0"]
        assert 0.8 < found.kept["stages.conv1.0.0"] < 1
        assert 1e-5 < error < 2 * float(wanted.abs().max())
    else:
        assert found.kept == {}
        assert error < 1e-5 * max(1.0, float(wanted.abs().max()))


def test_repeated_taps_are_exact_but_for_the_ends_of_a_clip() -> None:
    architecture = parse_placement("3d-3dx1-2dx1-2dx1-2dx1@w0.25")
    source, target = two_d(architecture), video(architecture)
    target.load_state_dict(inflate(source, target, architecture, CLIP, "repeat").state)
    ends = float((said(target) - said(source, 1)).abs().max())
    assert ends > 1e-3
    for module in target.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1:  # as if the clip went on
            assert isinstance(module.padding, tuple)
            height, width = module.padding[1:]
            spatial = [width, width, height, height, 0, 0]
            module.register_forward_pre_hook(_continued(spatial))
            module.padding = (0, 0, 0)
    assert float((said(target) - said(source, 1)).abs().max()) < 1e-5


def _continued(spatial: list[int]):  # type: ignore[no-untyped-def]
    def pad(module: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        wide = nn.functional.pad(inputs[0], spatial)
        return torch.cat([wide[:, :, :1], wide, wide[:, :, -1:]], 2)

    return pad


def test_an_untrained_network_is_carried_too_and_trains_on() -> None:
    """Whatever its statistics are; and with those of a batch it still says nearly what it said."""
    architecture = find_network("R(2+1)D-18").scaled(0.25)
    architecture = Architecture("2d", architecture.stages, "basic", 0.25)
    source, target = two_d(architecture, seen=0), video(architecture)
    target.load_state_dict(inflate(source, target, architecture, CLIP, "centre").state)
    wanted = said(source, 1)
    assert float((said(target) - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
    source, target = two_d(architecture, seen=40), video(architecture)
    target.load_state_dict(inflate(source, target, architecture, CLIP, "centre").state)
    clips = torch.randn(16, 3, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        live = source.train()(clips)
        as_batch = target.train()(clips.expand(-1, -1, 6, -1, -1))
    assert float((live - as_batch).norm() / live.norm()) < 0.2


def test_another_classifier_stays_and_other_kinds_are_refused() -> None:
    architecture = parse_placement("3d-3dx1-2plus1dx1-2dx1-2dx1@w0.25")
    target = video(architecture, classes=7)
    found = inflate(two_d(architecture), target, architecture, CLIP, "centre")
    assert torch.equal(found.state["head.1.weight"], target.state_dict()["head.1.weight"])

    from stsearch.space.kinds import KINDS, conv_3d, kind
    from stsearch.space.ops import Conv, Ops

    @kind("depthwise_here")
    def depthwise(c_in: int, c_out: int, stride: int) -> Ops:
        return (Conv(c_in, c_in, (3, 3, 3), (stride,) * 3, (1, 1, 1), c_in), Conv(c_in, c_out, (1, 1, 1)))

    assert KINDS["3d"] is conv_3d
    other = parse_placement("3d-depthwise_herex1-2dx1-2dx1-2dx1@w0.25")
    with pytest.raises(UserError, match="cannot be inflated into the kind 'depthwise_here'"):
        inflate(two_d(other), video(other), other, CLIP, "centre")


class Block(nn.Module):
    """A bottleneck of torchvision's ResNet, by its names."""

    def __init__(self, c_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels)
        self.downsample = None
        if stride > 1 or c_in != 4 * channels:
            shortcut = nn.Conv2d(c_in, 4 * channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return torch.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """torchvision's without the max-pool, by its names; narrower."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16)
        before = 16
        for number, (channels, depth) in enumerate(zip((16, 32, 64, 128), (3, 4, 6, 3), strict=True), 1):
            blocks = []
            for index in range(depth):
                blocks.append(Block(before, channels, 2 if index == 0 and number > 1 else 1))
                before = 4 * channels
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x)).relu()
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return x.mean((2, 3))


def test_torchvisions_names_and_epsilon() -> None:
    """Features of a ResNet-50 of its blocks are ours to rounding; a tensor without a place is named."""
    torch.manual_seed(0)
    theirs = ResNet50()
    for _ in range(3):
        theirs(torch.randn(4, 3, 32, 32))
    theirs.eval()
    architecture = find_network("R3D-18")
    architecture = Architecture("3d", (("3d",) * 3, ("2d",) * 4, ("2d",) * 6, ("2d",) * 3), "bottleneck", 0.25)
    source, target = build(flat(architecture), CLIP, 5), video(architecture)
    state = {**from_resnet(theirs.state_dict(), architecture)}
    head = {key: value for key, value in source.state_dict().items() if key.startswith("head.")}
    source.load_state_dict({**state, **head})
    target.load_state_dict(inflate(source, target, architecture, CLIP, "centre").state)
    with torch.no_grad():
        wanted = theirs(FRAMES[:, :, 0])
        target.head = nn.Sequential(*list(target.head)[:1])
    assert torch.allclose(said(target), wanted, rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match=r"'layer1.0.se.weight' is no tensor of a ResNet"):
        from_resnet({"layer1.0.se.weight": torch.zeros(1)}, architecture)
