"""The three networks in PyTorch, at any width and image size: what plp's weights can be loaded into.

They have the parameter names, the shapes and the forward pass of the public trainer weiaicunzai/pytorch-cifar100.
Tests and benchmarks hold plp against them, in its results and in its speed.

`width` scales every number of channels and hidden units c to max(1, ⌊c·width + ½⌋), the classes and the three
colours excepted; what a concatenation feeds on is the sum of its scaled branches. `image_size` matters to VGG16 only,
whose first linear layer takes all pixels that five poolings leave, each rounding down; the others average over them.
"""

import math

import torch
from torch import nn


def network(name, classes=100, image_size=32, width=1.0, dropout=None, channel_count_epsilons=False):
    """One of NETWORKS. `dropout=None` keeps the network's own rate; `channel_count_epsilons` is GoogLeNet's only."""

    def scaled(channels):
        return max(1, math.floor(channels * width + 0.5))

    if name == "vgg16":
        return VGG16(classes, image_size, scaled, 0.5 if dropout is None else dropout)
    if name == "resnet18":
        return ResNet18(classes, scaled)
    if name == "googlenet":
        return GoogLeNet(classes, scaled, 0.4 if dropout is None else dropout, channel_count_epsilons)
    raise ValueError(f"unknown network {name!r}")


NETWORKS = {"vgg16": 34_015_396, "resnet18": 11_220_132, "googlenet": 6_402_564}
"""The names, and the number of parameters at 100 classes, images of 32 × 32 and full width."""


def convolution(inputs, outputs, kernel, stride=1, bias=True, eps=1e-5):
    """Convolution, batch norm, ReLU: a "same" convolution but for its stride."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias),
        nn.BatchNorm2d(outputs, eps),
        nn.ReLU(inplace=True),
    ]


class VGG16(nn.Module):
    STAGES = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]  # channels, convolutions

    def __init__(self, classes, image_size, scaled, dropout):
        super().__init__()
        layers, inputs = [], 3
        for channels, count in self.STAGES:
            for _ in range(count):
                layers += convolution(inputs, scaled(channels), 3)
                inputs = scaled(channels)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        hidden = scaled(4096)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * (image_size // 32) ** 2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.residual_function = nn.Sequential(
            *convolution(inputs, outputs, 3, stride, bias=False), *convolution(outputs, outputs, 3, bias=False)[:-1]
        )
        unchanged = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential(*([] if unchanged else convolution(inputs, outputs, 1, stride, bias=False)[:-1]))

    def forward(self, x):
        return torch.relu(self.residual_function(x) + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, classes, scaled):
        super().__init__()
        widths = [scaled(channels) for channels in (64, 64, 128, 256, 512)]
        self.conv1 = nn.Sequential(*convolution(3, widths[0], 3, bias=False))
        for stage, (inputs, outputs) in enumerate(zip(widths, widths[1:]), start=2):
            first = BasicBlock(inputs, outputs, stride=1 if stage == 2 else 2)
            self.add_module(f"conv{stage}_x", nn.Sequential(first, BasicBlock(outputs, outputs, stride=1)))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x):
        for stage in (self.conv1, self.conv2_x, self.conv3_x, self.conv4_x, self.conv5_x):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


class Inception(nn.Module):
    def __init__(self, inputs, direct, reduced3, conv3, reduced5, conv5, pooled, channel_count_epsilons):
        super().__init__()
        self.outputs = direct + conv3 + conv5 + pooled
        self.b1 = nn.Sequential(*convolution(inputs, direct, 1))
        self.b2 = nn.Sequential(*convolution(inputs, reduced3, 1), *convolution(reduced3, conv3, 3))
        self.b3 = nn.Sequential(  # two 3×3 convolutions for the 5×5 one; the first is the one with the mistaken eps
            *convolution(inputs, reduced5, 1),
            *convolution(reduced5, conv5, 3, eps=conv5 if channel_count_epsilons else 1e-5),
            *convolution(conv5, conv5, 3),
        )
        self.b4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *convolution(inputs, pooled, 1))

    def forward(self, x):
        return torch.cat([self.b1(x), self.b2(x), self.b3(x), self.b4(x)], dim=1)


class GoogLeNet(nn.Module):
    STAGES = [
        {"a3": (64, 96, 128, 16, 32, 32), "b3": (128, 128, 192, 32, 96, 64)},
        {
            "a4": (192, 96, 208, 16, 48, 64),
            "b4": (160, 112, 224, 24, 64, 64),
            "c4": (128, 128, 256, 24, 64, 64),
            "d4": (112, 144, 288, 32, 64, 64),
            "e4": (256, 160, 320, 32, 128, 128),
        },
        {"a5": (256, 160, 320, 32, 128, 128), "b5": (384, 192, 384, 48, 128, 128)},
    ]

    def __init__(self, classes, scaled, dropout, channel_count_epsilons):
        super().__init__()
        stem, inputs = scaled(64), scaled(192)
        self.prelayer = nn.Sequential(
            *convolution(3, stem, 3, bias=False),
            *convolution(stem, stem, 3, bias=False),
            *convolution(stem, inputs, 3, bias=False),
        )
        for stage in self.STAGES:
            for name, channels in stage.items():
                block = Inception(inputs, *map(scaled, channels), channel_count_epsilons)
                self.add_module(name, block)
                inputs = block.outputs
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.dropout = nn.Dropout(dropout)  # of whole maps; after the average a map is one number
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.prelayer(x)
        for stage in self.STAGES:
            x = self.maxpool(x)
            for name in stage:
                x = getattr(self, name)(x)
        return self.linear(self.dropout(x.mean((2, 3))))
