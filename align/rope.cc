#include "align/rope.h"

#include <cmath>
#include <numbers>
#include <string_view>

namespace kvcommons {
namespace {

constexpr std::uint32_t kMaxRotaryDim = 1024;

struct Refusal {
  std::string_view kind;
  std::string_view why;
};

constexpr Refusal kRefusals[] = {
    {"dynamic", "its frequencies change with the length of the sequence"},
    {"yarn", "its magnitude factor and ramp are not verified here"},
    {"longrope", "its frequencies depend on which factor set the engine chose"},
    {"su", "its frequencies depend on which factor set the engine chose"},
    {"mrope", "a position is a vector, not a number"},
    {"imrope", "a position is a vector, not a number"},
    {"xdrope", "a position is a vector, not a number"},
    {"proportional", "its exponents are taken over another width"},
    {"fope", "its mix of sines is not a rotation"},
    {"alibi", "it has no rotation"},
    {"learned", "learned positions are part of every hidden state"},
};

Status CheckPositive(const char* field, double value) {
  if (std::isfinite(value) && value > 0) return Status();
  return InvalidArgument(std::string(field) + " is " + std::to_string(value) +
                         "; it must be finite and more than 0");
}

Status CheckPairFactors(const RopeConfig& config) {
  const std::size_t pair_count = config.rotary_dim / 2;
  if (config.pair_factors.empty()) return Status();
  if (config.pair_factors.size() != pair_count) {
    return InvalidArgument("pair_factors has " + std::to_string(config.pair_factors.size()) +
                           " values; rotary_dim " + std::to_string(config.rotary_dim) + " needs " +
                           std::to_string(pair_count));
  }
  for (const float factor : config.pair_factors) {
    KVC_RETURN_IF_ERROR(CheckPositive("a value of pair_factors", static_cast<double>(factor)));
  }
  return Status();
}

// Long wavelengths are stretched by the factor, short ones kept, those between blended.
double Llama3(const RopeConfig& config, double omega) {
  const double wavelength = 2 * std::numbers::pi / omega;
  const double turns = config.original_context / wavelength;
  if (turns > config.high_freq_factor) return omega;
  if (turns < config.low_freq_factor) return omega / config.factor;
  const double keep =
      (turns - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
  return (1 - keep) * omega / config.factor + keep * omega;
}

}  // namespace

Result<std::vector<float>> MakeOmega(const RopeConfig& config) {
  const bool plain = config.kind.empty() || config.kind == "default" || config.kind == "none";
  const bool linear = config.kind == "linear";
  const bool llama3 = config.kind == "llama3";
  if (!plain && !linear && !llama3) {
    std::string why = "it is not known";
    for (const Refusal& refusal : kRefusals) {
      if (refusal.kind == config.kind) why = refusal.why;
    }
    return Fail(Unsupported("RoPE kind \"" + config.kind + "\" is refused: " + why));
  }
  if (config.rotary_dim < 2 || config.rotary_dim > kMaxRotaryDim || config.rotary_dim % 2 != 0) {
    return Fail(InvalidArgument("rotary_dim is " + std::to_string(config.rotary_dim) +
                                "; it must be even, 2 to " + std::to_string(kMaxRotaryDim)));
  }
  if (!std::isfinite(config.base) || config.base <= 1) {
    return Fail(InvalidArgument("base is " + std::to_string(config.base) +
                                "; it must be finite and more than 1"));
  }
  if (!plain) KVC_FAIL_IF_ERROR(CheckPositive("factor", config.factor));
  if (llama3) {
    KVC_FAIL_IF_ERROR(CheckPositive("low_freq_factor", config.low_freq_factor));
    KVC_FAIL_IF_ERROR(CheckPositive("high_freq_factor", config.high_freq_factor));
    KVC_FAIL_IF_ERROR(CheckPositive("original_context", config.original_context));
    if (config.high_freq_factor <= config.low_freq_factor) {
      return Fail(InvalidArgument("high_freq_factor is " + std::to_string(config.high_freq_factor) +
                                  "; it must be more than low_freq_factor, " +
                                  std::to_string(config.low_freq_factor)));
    }
    if (!config.pair_factors.empty()) {
      return Fail(InvalidArgument("pair_factors are the llama3 scaling already; give one of them"));
    }
  }
  KVC_FAIL_IF_ERROR(CheckPairFactors(config));

  std::vector<float> omega(config.rotary_dim / 2);
  for (std::size_t c = 0; c < omega.size(); ++c) {
    double value = std::pow(config.base, -2.0 * static_cast<double>(c) / config.rotary_dim);
    if (linear) value /= config.factor;
    if (llama3) value = Llama3(config, value);
    if (!config.pair_factors.empty()) value /= static_cast<double>(config.pair_factors[c]);
    omega[c] = static_cast<float>(value);
    if (!std::isfinite(omega[c])) {
      return Fail(InvalidArgument("omega[" + std::to_string(c) + "] is not finite"));
    }
  }
  return omega;
}

}  // namespace kvcommons
