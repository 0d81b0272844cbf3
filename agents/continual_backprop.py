"""Continual backpropagation: keep a network able to learn by replacing its least useful units, a few at a time.

Dohare et al. 2024, "Loss of plasticity in deep continual learning", https://doi.org/10.1038/s41586-024-07711-7.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from continual_hackatari.agents.errors import AgentError
from continual_hackatari.agents.layers import HiddenLayer, Layer, columns_per_unit

UTILITIES = ("contribution", "zero_contribution", "adaptation", "adaptable_contribution")
INITS = ("default", "xavier", "lecun", "kaiming", "orthogonal")
COUNTS = ("eligible", "all")
RELU_GAIN = math.sqrt(2)
# A unit is dormant when its mean abs(output) is at most this share of its layer's mean (Sokar et al. 2023,
# https://arxiv.org/abs/2302.12902).
DORMANT = 0.025

SAVED = ("utility", "mean_feature", "age", "accumulated", "replaced", "replaced_dormant")
COUNTED = ("times", "replaced_again")
"""What a record must keep to go on; and what earlier versions did not count."""
PER_UNIT = ("utility", "mean_feature", "age")


@dataclass
class UnitRecord:
    """What is known of the units of one layer; one number per unit in each tensor."""

    hidden: HiddenLayer
    utility: Tensor
    """Running average of the utility, not corrected for its start at zero."""
    mean_feature: Tensor
    """Running average of the output, over batch and positions, not corrected either."""
    age: Tensor
    """Steps since the unit was made, int64. On the CPU: it decides in every step whether there is anything to do."""
    times: Tensor
    """How often each unit was replaced, int64, on the CPU."""
    accumulated: float = 0.0
    """Fraction of a replacement that is due. A Python float: in float32 some replacements would come a step late."""
    replaced: int = 0
    """Units replaced so far."""
    replaced_dormant: int = 0
    """How many of them were dormant in the features of that step, see `DORMANT`."""
    replaced_again: int = 0
    """How many of them took the place of a unit that was itself a replacement."""
    columns_per_unit: list[int] = field(default_factory=list)
    """Input columns of each consumer that belong to one unit: 1, or the positions of a flattened channel."""
    name: str = ""

    @property
    def layer(self) -> Layer:
        return self.hidden.layer

    @property
    def consumers(self) -> Sequence[Layer]:
        return self.hidden.consumers


class ContinualBackprop:
    """Replaces units of low utility; call `step` once after each optimizer step, and at no other time.

    Each step and layer: every unit's age grows by one; running averages (`decay_rate`) of its output and its utility
    are updated; units older than `maturity_threshold` steps are eligible; `replacement_rate` times their number is
    due, and when it adds up to whole units, those of lowest utility are replaced: fresh incoming weights, bias and
    outgoing weights zero, so that the network's output loses the unit's contribution and nothing is added to it.

    | utility | of a unit with output h, incoming weights w_in, outgoing weights w_out |
    |---|---|
    | `contribution` | mean abs(w_out) * mean abs(h) |
    | `zero_contribution` | mean abs(w_out) * mean abs(h - its running mean) |
    | `adaptation` | 1 / mean abs(w_in) |
    | `adaptable_contribution` | `zero_contribution` * `adaptation` |

    Means are over the batch, positions and the weights of the unit; weights are those after the optimizer step, outputs
    those of the forward pass before it. Utilities are compared after correction for their start at zero; among equals
    the lowest index goes first.
    """

    def __init__(
        self,
        layers: Sequence[HiddenLayer],
        *,
        replacement_rate: float,
        maturity_threshold: int,
        decay_rate: float,
        utility: str = "contribution",
        init: str = "kaiming",
        accumulate: bool = True,
        count: str = "eligible",
        optimizer: Optimizer | None = None,
        generator: torch.Generator | None = None,
        average: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """
        layers: in the order of the forward pass.
        replacement_rate: share of the units replaced per step; 0 switches everything off.
        maturity_threshold: steps that a unit is safe after it was made.
        decay_rate: of the running averages; 0 means the present value alone.
        init: distribution of fresh incoming weights, see `draw_incoming`.
        accumulate: fractions of a unit add up over the steps; False replaces one unit with their probability instead.
        count: the rate applies to the `eligible` units, or to `all` as soon as one is eligible.
        optimizer: its state of replaced weights is reset. `RestartableAdam` and optimizers with one step count per
            entry start over properly; with a single step count, as in `torch.optim.Adam`, only the moments can.
        generator: a CPU generator for all draws; None makes one from PyTorch's initial seed.
        average: where several processes train one agent, each on equally many rows: the mean of a tensor over the
            processes. With it and the same generator all of them replace the same units by the same weights.

        Raises AgentError for values outside the allowed ones and for consumers that do not fit their layer.
        """
        check_continual_backprop(replacement_rate, maturity_threshold, decay_rate, utility, init, count)
        self.replacement_rate = replacement_rate
        self.maturity_threshold = maturity_threshold
        self.decay_rate = decay_rate
        self.utility = utility
        self.init = init
        self.accumulate = accumulate
        self.count = count
        self.optimizer = optimizer
        self.average = average or (lambda tensor: tensor)
        self.generator = generator or torch.Generator().manual_seed(torch.initial_seed())
        self.records = [_new_record(hidden, position) for position, hidden in enumerate(layers)]
        # One tensor for the units of all layers, of which each record holds its part: a step then makes a few big
        # operations instead of many small ones, whose number is what it would cost.
        self._utility, self._mean_feature, self._age = (self._joined(name) for name in PER_UNIT)

    @torch.no_grad()
    def step(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Update all statistics, replace units, and return the replaced ones: one int64 tensor `[k]` per layer.

        features: what each layer's units gave after the activation in the forward pass of the update, in the order of
            the layers, `[B, units]` or `[B, channels, H, W]`. Raises AgentError when they do not fit.
        """
        if len(features) != len(self.records):
            raise AgentError(f"`features` has {len(features)} tensors; it needs one per layer, {len(self.records)}.")
        if self.replacement_rate == 0:  # not even the ages move: the same as training without
            return [torch.empty(0, dtype=torch.int64) for _ in self.records]
        features = [feature.detach() for feature in features]
        self._age += 1
        self._update_statistics(features)
        replaced = []
        for record, feature in zip(self.records, features, strict=True):
            units = self._select(record)
            if len(units):
                self._count_replaced(record, feature, units)
            replaced.append(units)
        # Only now: a layer's outgoing weights are the next one's incoming weights, which its selection still reads.
        for position, units in enumerate(replaced):
            if len(units):
                self._replace(position, units)
        self.forget_units(replaced)
        return replaced

    def draw_uniform(self) -> float:
        """A number from 0 to 1 that decides, without `accumulate`, whether a fraction of a unit becomes one."""
        return float(torch.rand(1, generator=self.generator))

    def draw_incoming(self, layer_index: int, units: Tensor) -> Tensor:
        """Fresh incoming weights `[len(units), *fan_in]` for the `units` of a layer.

        Uniform between -bound and bound, with `bound` sqrt(1 / in) for `default`, sqrt(2) sqrt(6 / (in + out)) for
        `xavier`, sqrt(3 / in) for `lecun`, sqrt(2) sqrt(3 / in) for `kaiming`; convolutions have the bound of `default`
        with each of these names, as in the authors' code. `orthogonal` is what one row of an orthogonal matrix of
        gain sqrt(2) looks like: that norm, any direction; the choice that fits the agents here.
        """
        layer = self.records[layer_index].layer
        shape = (len(units), *layer.weight.shape[1:])
        if self.init == "orthogonal":
            rows = torch.randn(shape, generator=self.generator).flatten(1)
            return (RELU_GAIN * rows / rows.norm(dim=1, keepdim=True)).reshape(shape)
        bound = incoming_bound(layer, self.init)
        return bound * (2 * torch.rand(shape, generator=self.generator) - 1)

    def forget_units(self, units: Sequence[Tensor]) -> None:
        """Forget what is known of these units, one int64 tensor `[k]` per layer: they are new. The counts stay."""
        for record, new in zip(self.records, units, strict=True):
            for known in (getattr(record, name) for name in PER_UNIT) if len(new) else ():
                known[new.to(known.device)] = 0

    def reset_statistics(self) -> None:
        """Forget what is known of the units, as if all were new; for weights that were changed in another way.

        Ages begin at zero, so that no unit is replaced for `maturity_threshold` steps. The counts stay.
        """
        for tensor in (self._utility, self._mean_feature, self._age):
            tensor.zero_()
        for record in self.records:
            record.accumulated = 0.0

    def summary(self) -> dict[str, float]:
        """Numbers to log, by `<quantity>/<layer>`.

        | quantity | meaning |
        |---|---|
        | `replaced` | units replaced so far |
        | `replaced_dormant` | share of them that were dormant (see `DORMANT`); absent before the first one |
        | `replaced_again` | share of them that hit a unit which had been replaced before |
        | `eligible` | share of the units that may be replaced |
        | `utility_q05`, `utility_q50`, `utility_q95` | quantiles of the corrected utilities; absent before any step |
        | `age_median` | in steps |
        """
        numbers: dict[str, float] = {}
        for r in self.records:
            numbers[f"replaced/{r.name}"] = r.replaced
            if r.replaced:
                numbers[f"replaced_dormant/{r.name}"] = r.replaced_dormant / r.replaced
                numbers[f"replaced_again/{r.name}"] = r.replaced_again / r.replaced
            numbers[f"eligible/{r.name}"] = float((r.age > self.maturity_threshold).double().mean())
            known = (r.age > 0).to(r.utility.device)  # a unit just replaced has no utility yet
            if known.any():
                quantiles = (r.utility / self._correction(r))[known].quantile(r.utility.new_tensor([0.05, 0.5, 0.95]))
                for q, value in zip(("q05", "q50", "q95"), quantiles.tolist(), strict=True):
                    numbers[f"utility_{q}/{r.name}"] = value
            numbers[f"age_median/{r.name}"] = float(r.age.double().quantile(0.5))
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """Everything that a continued run needs besides the weights and the optimizer: tensors and plain values."""
        records = [{name: getattr(record, name) for name in SAVED + COUNTED} for record in self.records]
        copied = [{k: v.clone() if isinstance(v, Tensor) else v for k, v in record.items()} for record in records]
        return {"records": copied, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; raises AgentError where it was made with other layers."""
        sizes = [len(saved["age"]) for saved in state["records"]]
        if sizes != [len(record.age) for record in self.records]:
            raise AgentError(
                f"The saved continual backpropagation has layers of {sizes} units, this agent has "
                f"{[len(record.age) for record in self.records]}; use the architecture it was trained with."
            )
        for record, saved in zip(self.records, state["records"], strict=True):
            for name in (*SAVED, *(name for name in COUNTED if name in saved)):
                present = getattr(record, name)
                if isinstance(present, Tensor):
                    present.copy_(saved[name])
                else:
                    setattr(record, name, type(present)(saved[name]))
        self.generator.set_state(state["generator"])

    def _joined(self, name: str) -> Tensor:
        """One tensor with what all records have under `name`, their own ones becoming views of it."""
        joined = torch.cat([getattr(record, name) for record in self.records])
        for record, part in zip(self.records, joined.split([len(r.age) for r in self.records]), strict=True):
            setattr(record, name, part)
        return joined

    def _update_statistics(self, features: Sequence[Tensor]) -> None:
        """Move the running averages of outputs, then those of utilities, by one step."""
        for record, feature in zip(self.records, features, strict=True):
            _check_feature(record, feature)
        pairs = list(zip(self.records, features, strict=True))
        means = self._means_of_all(pairs)
        per_unit = [_mean_per_unit(record, mean) for record, mean in zip(self.records, means, strict=True)]
        self._mean_feature.mul_(self.decay_rate).add_(torch.cat(per_unit), alpha=1 - self.decay_rate)
        utilities = [self._present_utility(*pair, mean) for pair, mean in zip(pairs, means, strict=True)]
        self._utility.mul_(self.decay_rate).add_(torch.cat(utilities), alpha=1 - self.decay_rate)

    def _means_of_all(self, pairs: Sequence[tuple[UnitRecord, Tensor]]) -> Sequence[Tensor]:
        """`_mean_per_column` of every layer, over the rows of all processes: one message for all layers."""
        means = [_mean_per_column(record, feature) for record, feature in pairs]
        return self.average(torch.cat(means)).split([len(mean) for mean in means])

    def _present_utility(self, record: UnitRecord, feature: Tensor, mean: Tensor) -> Tensor:
        """Utility `[units]` in this step alone; `mean` is that of the features per column."""
        if self.utility == "adaptation":
            return 1 / _incoming_magnitude(record)
        if self.utility == "contribution":
            magnitude = mean if record.hidden.non_negative else self.average(_mean_per_column(record, feature.abs()))
        else:
            running = record.mean_feature / self._correction(record)
            places = feature.dim() - 2 if isinstance(record.layer, nn.Conv2d) else 0
            centred = feature.float() - running.reshape(-1, *[1] * places)
            magnitude = self.average(_mean_per_column(record, centred.abs_()))
        outgoing = _mean_over_rows([consumer.weight for consumer in record.consumers])
        # A flattened channel has outgoing weights of its own at every position: the products, then their mean.
        utility = _mean_per_unit(record, outgoing * magnitude)
        return utility / _incoming_magnitude(record) if self.utility == "adaptable_contribution" else utility

    def _correction(self, record: UnitRecord) -> Tensor:
        """What a running average started at zero has reached of the true one: `1 - decay^age` per unit."""
        return (1 - self.decay_rate ** record.age.double()).float().to(record.utility.device)

    def _select(self, record: UnitRecord) -> Tensor:
        eligible = record.age.numpy() > self.maturity_threshold  # [units], on the CPU
        number = int(eligible.sum())
        if number == 0 or not record.hidden.trained:
            return torch.empty(0, dtype=torch.int64)
        due = self.replacement_rate * (number if self.count == "eligible" else len(record.age))
        if self.accumulate:
            record.accumulated += due
            wanted = int(record.accumulated)
            record.accumulated -= wanted
        else:
            wanted = int(due) if due >= 1 else int(self.draw_uniform() <= due)
        wanted = min(wanted, number)
        if wanted == 0:
            return torch.empty(0, dtype=torch.int64)
        corrected = record.utility / self._correction(record)
        corrected = corrected.cpu().masked_fill(torch.from_numpy(~eligible), math.inf)
        return corrected.sort(stable=True).indices[:wanted]  # stable: equals stay in the order of their index

    def _count_replaced(self, record: UnitRecord, feature: Tensor, units: Tensor) -> None:
        magnitude = _mean_per_unit(record, self.average(_mean_per_column(record, feature.abs())))
        dormant = magnitude <= DORMANT * magnitude.mean()
        record.replaced += len(units)
        record.replaced_again += int((record.times[units] > 0).sum())
        record.times[units] += 1
        record.replaced_dormant += int(dormant[units.to(dormant.device)].sum())

    def _replace(self, position: int, units: Tensor) -> None:
        record = self.records[position]
        weight = record.layer.weight
        fresh = self.draw_incoming(position, units)
        on_device = units.to(weight.device)
        weight[on_device] = fresh.to(weight)
        self._reset_optimizer(weight, 0, on_device)
        if record.layer.bias is not None:
            record.layer.bias[on_device] = 0
            self._reset_optimizer(record.layer.bias, 0, on_device)
        norm = record.hidden.norm
        for parameter, value in zip(norm.parameters() if norm is not None else (), (1.0, 0.0), strict=False):
            parameter[on_device] = value  # gain and offset
            self._reset_optimizer(parameter, 0, on_device)
        for consumer in record.consumers:
            columns = record.hidden.columns_of(consumer, on_device)
            consumer.weight[:, columns] = 0
            self._reset_optimizer(consumer.weight, 1, columns)

    def _reset_optimizer(self, parameter: Tensor, dim: int, index: Tensor) -> None:
        restart = getattr(self.optimizer, "restart", None)
        if restart is not None:
            restart(parameter, dim, index)
            return
        state = self.optimizer.state.get(parameter, {}) if self.optimizer is not None else {}
        for value in state.values():
            # All of the parameter's shape together: both moments, and the step count where each entry has its own.
            # One moment without the other would divide old momentum by almost nothing.
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value.index_fill_(dim, index, 0)


def incoming_bound(layer: Layer, init: str) -> float:
    """Largest absolute value of a fresh incoming weight of a layer followed by a ReLU; see `draw_incoming`."""
    inputs = math.prod(layer.weight.shape[1:])
    if init == "default" or isinstance(layer, nn.Conv2d):
        return math.sqrt(1 / inputs)
    if init == "xavier":
        return RELU_GAIN * math.sqrt(6 / (inputs + layer.weight.shape[0]))
    return math.sqrt(3 / inputs) * (RELU_GAIN if init == "kaiming" else 1)


def _new_record(hidden: HiddenLayer, position: int) -> UnitRecord:
    columns, zeros = columns_per_unit(hidden, position), torch.zeros(hidden.units, device=hidden.layer.weight.device)
    age, again = (torch.zeros(hidden.units, dtype=torch.int64) for _ in range(2))
    name = hidden.name or str(position + 1)
    return UnitRecord(hidden, zeros.clone(), zeros.clone(), age, again, columns_per_unit=columns, name=name)


def _mean_per_column(record: UnitRecord, feature: Tensor) -> Tensor:
    """Mean of the features `[columns]` that each of the consumers' columns reads: over the batch, and over positions
    unless the consumer reads every position by itself.

    Sums are float32. Of bfloat16 features, sums over positions (or over the batch, where each position counts by
    itself) are rounded to bfloat16 before they are averaged: no float32 copy of all features is made, and in a
    minibatch of 256 the roundings average out to a relative error of about 0.0003.
    """
    if feature.dim() == 2:
        return feature.mean(0, dtype=torch.float32)
    if feature.dim() == 3:  # at several frames, [B, frames, units]
        every = feature.flatten(0, 1) if record.columns_per_unit[0] == 1 else feature.flatten(1)
        return every.mean(0, dtype=torch.float32)
    if record.columns_per_unit[0] == 1:
        return feature.sum([2, 3]).sum(0, dtype=torch.float32) * (feature.shape[1] / feature.numel())
    if feature.is_contiguous():
        return feature.flatten(1).sum(0).float() / len(feature)
    # With the channels last, as these features lie in memory: ten times faster.
    return feature.movedim(1, -1).sum(0).movedim(-1, 0).flatten().float() / len(feature)


def _mean_per_unit(record: UnitRecord, per_column: Tensor) -> Tensor:
    if len(per_column) == len(record.utility):
        return per_column
    if isinstance(record.layer, nn.Linear):
        return per_column.reshape(-1, len(record.utility)).mean(0)
    return per_column.reshape(len(record.utility), -1).mean(1)


def _mean_over_rows(weights: list[Tensor]) -> Tensor:
    """Mean abs(weight) per input column `[columns]` of the stacked weights, over rows and kernel positions."""
    stacked = (weights[0] if len(weights) == 1 else torch.cat(weights)).float()
    return stacked.abs().sum([0, *range(2, stacked.dim())]) / (stacked.numel() // stacked.shape[1])


def _incoming_magnitude(record: UnitRecord) -> Tensor:
    """Mean abs(incoming weight) per unit `[units]`; a tiny number instead of zero, because it is divided by."""
    return record.layer.weight.flatten(1).abs().mean(1).float().clamp_min(1e-12)


def _check_feature(record: UnitRecord, feature: Tensor) -> None:
    frames = record.hidden.frames
    dims = 4 if isinstance(record.layer, nn.Conv2d) else 2 if frames == 1 else 3
    one_frame = dims == 2 and feature.dim() == 3 and feature.shape[1] == 1  # as a layer gives it that looks at frames
    if (feature.dim() != dims and not one_frame) or feature.shape[1 if dims == 4 else -1] != len(record.age):
        raise AgentError(
            f"`features` of a layer with {len(record.age)} units has shape {tuple(feature.shape)}; needed is "
            f"{'[B, channels, H, W]' if dims == 4 else '[B, frames, units]' if dims == 3 else '[B, units]'}, as the "
            "layer gave it."
        )
    if dims == 4:
        positions = feature.shape[2] * feature.shape[3]
        for consumer, per_unit in zip(record.consumers, record.columns_per_unit, strict=True):
            if isinstance(consumer, nn.Linear) and per_unit != positions:
                raise AgentError(
                    f"`features` has {positions} positions per channel, but the linear layer after it reads {per_unit}."
                )


def check_continual_backprop(
    replacement_rate: float, maturity_threshold: int, decay_rate: float, utility: str, init: str, count: str
) -> None:
    """Raise AgentError for values that `ContinualBackprop` does not allow."""
    if not 0 <= replacement_rate <= 1:
        raise AgentError(f"`replacement_rate` is {replacement_rate}; allowed is 0 (never) to 1 (every step).")
    if maturity_threshold < 0:
        raise AgentError(f"`maturity_threshold` is {maturity_threshold}; allowed is 0 or more steps.")
    if not 0 <= decay_rate < 1:
        raise AgentError(f"`decay_rate` is {decay_rate}; allowed is 0 to just below 1.")
    for name, value, allowed in (("utility", utility, UTILITIES), ("init", init, INITS), ("count", count, COUNTS)):
        if value not in allowed:
            raise AgentError(f"`{name}` is {value!r}; allowed is {', '.join(allowed)}.")
