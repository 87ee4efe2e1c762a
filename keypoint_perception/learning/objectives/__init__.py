"""
The objectives, one file and one paper each.

To add one, write ``objectives/NAME.py`` with a class that has ``Config``, ``weights`` and
``forward(batch) -> {term: (B,)}``, and list it here; add ``config/train/NAME.yaml``,
``test/learning/objectives/test_NAME.py`` and a section in ``docs/objectives.md``. A test checks
this.
"""

from keypoint_perception.learning.objectives.conditional_generation import (
    ConditionalGeneration,
)
from keypoint_perception.learning.objectives.default import Default
from keypoint_perception.learning.objectives.default_without_transport import (
    DefaultWithoutTransport,
)
from keypoint_perception.learning.objectives.edge_linking import EdgeLinking
from keypoint_perception.learning.objectives.equivariance import Equivariance
from keypoint_perception.learning.objectives.motion_energy import MotionEnergy
from keypoint_perception.learning.objectives.self_training import SelfTraining
from keypoint_perception.learning.objectives.semi_supervised import SemiSupervised
from keypoint_perception.learning.objectives.spatio_temporal_transport import (
    SpatioTemporalTransport,
)
from keypoint_perception.learning.objectives.structural_representation import (
    StructuralRepresentation,
)
from keypoint_perception.learning.objectives.supervised import Supervised
from keypoint_perception.learning.objectives.temporal_transport import TemporalTransport

OBJECTIVES = {
    'conditional_generation': ConditionalGeneration,
    'default': Default,
    'default_without_transport': DefaultWithoutTransport,
    'edge_linking': EdgeLinking,
    'equivariance': Equivariance,
    'motion_energy': MotionEnergy,
    'self_training': SelfTraining,
    'semi_supervised': SemiSupervised,
    'spatio_temporal_transport': SpatioTemporalTransport,
    'structural_representation': StructuralRepresentation,
    'supervised': Supervised,
    'temporal_transport': TemporalTransport,
}
