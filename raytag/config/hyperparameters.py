"""The hyperparameters that may differ between the trials of one group, with their ranges and transfer classes.

Everything here is stackable: it changes no tensor shape. What changes shapes (width, layers, heads, batch size)
lives in :mod:`raytag.config.experiment`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Frozen", "Hyperparameters"]


class Frozen(BaseModel):
    """A validated, immutable section of a configuration file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class Hyperparameters(Frozen):
    """The stackable hyperparameters of one trial. A search space samples some; the others keep these values."""

    lr: float = Field(2e-3, gt=0, description="Peak learning rate at the base width.")
    weight_decay: float = Field(
        1e-5, ge=0, description="Decoupled weight decay: a step shrinks weights by lr × weight_decay, at any width."
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="Momentum: of AdamW, Muon and SGD; of Lion's update.")
    beta2: float = Field(
        0.999, ge=0, lt=1, description="Decay of AdamW's second moment, or of Lion's momentum; SGD has none."
    )
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon at the base width; Lion and SGD have none.")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="Share of the steps spent warming up.")
    decay_fraction: float = Field(
        0.2, gt=0, le=1, description="Share of the steps, after the warm-up, in which warmup_stable_decay decays."
    )
    clip_norm: float | None = Field(
        None,
        gt=0,
        description="Largest gradient norm of a trial (squares not of hidden matrices weigh m = width / base).",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout probability after attention and feed-forward.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing of the jet classification.")
    init_scale: float = Field(1.0, gt=0, description="Factor on the initial standard deviation of every weight.")
    alpha_output: float = Field(1.0, gt=0, description="muP output multiplier of every readout.")
    alpha_attention: float = Field(1.0, gt=0, description="Factor on the attention logits.")
    loss_weight_jet_classification: float = Field(1.0, ge=0, description="Weight of the jet class loss.")
    loss_weight_track_origin: float = Field(0.5, ge=0, description="Weight of the track origin loss.")
    loss_weight_vertexing: float = Field(1.5, ge=0, description="Weight of the vertexing loss.")
