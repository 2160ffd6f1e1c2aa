#include "align/gate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace kvcommons {
namespace {

// The noise floor itself must be small, or nothing could be told from it.
constexpr double kMaxValueError = 0.02;
// A wrong rotation must miss the limit by this factor, or the probe has no power.
constexpr double kControlMargin = 2;

// What storing a key costs (§3.1); for fp32 what the engine's own fp32 angles cost at the
// positions probed (§3.5).
double StorageError(ElementType type) {
  switch (type) {
    case ElementType::kFp16:
      return 0.0003;
    case ElementType::kBf16:
      return 0.0017;
    case ElementType::kFp32:
      return 0.0001;
  }
  return 0;
}

std::string Figure(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

struct Turn {
  double cos = 1;
  double sin = 0;
};

std::vector<Turn> Turns(const std::vector<float>& omega, std::int64_t delta) {
  std::vector<Turn> turns;
  turns.reserve(omega.size());
  for (const float w : omega) {
    const double angle = static_cast<double>(delta) * static_cast<double>(w);
    turns.push_back({std::cos(angle), std::sin(angle)});
  }
  return turns;
}

double RelativeError(double difference_squared, double norm_squared) {
  if (norm_squared == 0 && difference_squared == 0) return 0;  // a NaN must stay one
  return std::sqrt(difference_squared / norm_squared);
}

// ‖R_δ from − to‖ / ‖to‖ over all rows. In double: the gate must not inherit a fault of the
// kernels.
double KeyError(const KeyRowFormat& format, const std::vector<Turn>& turns,
                std::span<const float> from, std::span<const float> to) {
  const std::size_t half = format.rotary_dim / 2;
  const bool interleaved = format.layout == PairLayout::kInterleaved;
  double difference = 0;
  double norm = 0;
  const auto add = [&](double moved, float wanted) {
    const double d = moved - static_cast<double>(wanted);
    difference += d * d;
    norm += static_cast<double>(wanted) * static_cast<double>(wanted);
  };
  for (std::size_t head = 0; head < from.size(); head += format.head_dim) {
    const std::size_t rotary = head + format.rotary_offset;
    for (std::size_t c = 0; c < half; ++c) {
      const std::size_t first = rotary + (interleaved ? 2 * c : c);
      const std::size_t second = interleaved ? first + 1 : first + half;
      const double x = static_cast<double>(from[first]);
      const double y = static_cast<double>(from[second]);
      add(x * turns[c].cos - y * turns[c].sin, to[first]);
      add(x * turns[c].sin + y * turns[c].cos, to[second]);
    }
    const auto copy = [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) add(static_cast<double>(from[i]), to[i]);
    };
    copy(head, rotary);
    copy(rotary + format.rotary_dim, head + format.head_dim);
  }
  return RelativeError(difference, norm);
}

double ValueError(std::span<const float> from, std::span<const float> to) {
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const double d = static_cast<double>(from[i]) - static_cast<double>(to[i]);
    difference += d * d;
    norm += static_cast<double>(to[i]) * static_cast<double>(to[i]);
  }
  return RelativeError(difference, norm);
}

// Empty when the probe can be evaluated.
std::string ProbeFault(const ModelProfile& profile, const GateProbe& probe) {
  if (probe.layer >= profile.layer_count) {
    return "layer is " + std::to_string(probe.layer) + "; the model has " +
           std::to_string(profile.layer_count);
  }
  if (probe.shift == 0) return "shift is 0, which proves nothing";
  const std::size_t row = std::size_t{profile.kv_head_count} * profile.head_dim;
  const std::size_t size = probe.key_at_zero.size();
  if (size == 0 || size % row != 0 || probe.key_at_shift.size() != size ||
      probe.value_at_zero.size() != size || probe.value_at_shift.size() != size) {
    return "rows have " + std::to_string(probe.key_at_zero.size()) + ", " +
           std::to_string(probe.key_at_shift.size()) + ", " +
           std::to_string(probe.value_at_zero.size()) + " and " +
           std::to_string(probe.value_at_shift.size()) +
           " numbers; all must have one multiple of " + std::to_string(row);
  }
  return "";
}

}  // namespace

GateReport EvaluateGate(const ModelProfile& profile, std::span<const GateProbe> probes) {
  GateReport report;
  if (const Status status = Validate(profile); !status.ok()) {
    report.reason = "bad profile: " + status.message();
    return report;
  }
  if (profile.omega.empty()) {
    report.reason = "no rotation: " + (profile.omega_refusal.empty() ? std::string("omega is empty")
                                                                     : profile.omega_refusal);
    return report;
  }
  const KeyRowFormat format = profile.key_row();
  const double storage_error = StorageError(profile.element_type);
  std::vector<bool> probed(profile.layer_count, false);
  report.weakest_control = std::numeric_limits<double>::infinity();
  // The first figure that fails is the reason; the worst ones are over all probes nevertheless.
  const auto fail = [&report](const GateProbe& probe, const std::string& what) {
    if (!report.reason.empty()) return;
    report.reason = "layer " + std::to_string(probe.layer) + ", shift " +
                    std::to_string(probe.shift) + ": " + what;
  };
  for (const GateProbe& probe : probes) {
    if (const std::string fault = ProbeFault(profile, probe); !fault.empty()) {
      fail(probe, fault);
      continue;
    }
    probed[probe.layer] = true;
    const auto key_error = [&](std::int64_t delta) {
      return KeyError(format, Turns(profile.omega, delta), probe.key_at_zero, probe.key_at_shift);
    };
    const double key = key_error(probe.shift);
    const double value = ValueError(probe.value_at_zero, probe.value_at_shift);
    const double limit = 3 * value + 2 * storage_error;
    const double control = std::min(key_error(std::int64_t{probe.shift} + 1), key_error(0));
    report.worst_key_error = std::max(report.worst_key_error, key);
    report.worst_value_error = std::max(report.worst_value_error, value);
    report.weakest_control = std::min(report.weakest_control, control);
    // Negated, so that a NaN fails.
    if (!(value <= kMaxValueError)) {
      fail(probe, "value error is " + Figure(value) + "; the limit is " + Figure(kMaxValueError));
    } else if (!(key <= limit)) {
      fail(probe, "key error is " + Figure(key) + "; the limit is " + Figure(limit));
    } else if (!(control > kControlMargin * limit)) {
      fail(probe, "a wrong rotation has key error " + Figure(control) + "; it must be more than " +
                      Figure(kControlMargin * limit));
    }
  }
  if (probes.empty()) report.weakest_control = 0;
  for (std::size_t layer = 0; layer < probed.size() && report.reason.empty(); ++layer) {
    if (!probed[layer]) report.reason = "layer " + std::to_string(layer) + " was not probed";
  }
  report.passed = report.reason.empty();
  return report;
}

}  // namespace kvcommons
