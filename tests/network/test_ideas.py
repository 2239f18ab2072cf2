"""Ideas: a network says of a box what it says of its own instances, and names what is at a place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference import SegmentationModel, load, look_at_box, look_at_place, look_inside, segment
from network.ideas import MOST_NAMES, NoIdeasError
from network.inside import Inside
from photo.images import read_image
from tests.conftest import SCENES
