// Does the attention loss reach the network? Figures and warnings.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_AUDIT_HPP
#define CARE_GUIDE_AUDIT_HPP

#include <care/attention/scores.hpp>
#include <care/detail/probabilities.hpp>
#include <care/guide/attended.hpp>
#include <care/guide/batch.hpp>
#include <care/guide/figures.hpp>
#include <care/guide/gradients.hpp>
#include <care/guide/guided.hpp>
#include <care/guide/options.hpp>
#include <care/guide/regions.hpp>
#include <care/seen.hpp>

#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace care {

/// What `Guide::audit` found in one batch; `+=` adds up several.
///
/// Gradients are those with respect to the parameters handed over, of the two
/// terms as they stand in the total loss at full strength (alpha La and
/// (1 - alpha) Lc, or weight La and Lc; of a `Balance` it knows nothing).
struct Audit {
  int64_t batches = 0;
  int64_t unguided_batches = 0; ///< without a guided image
  int64_t guided = 0; ///< guided maps
  int64_t saturated = 0; ///< of these, inner >= tau: no inner gradient
  int64_t flat = 0; ///< of these, flat: no gradient at all
  int64_t inert_batches = 0; ///< guided, but La moves no parameter
  std::string inert_cause; ///< the first one's
  int64_t probability_batches = 0; ///< whose logits look like probabilities
  int64_t detached_batches = 0; ///< whose Lc has no gradient history
  int64_t measured = 0; ///< batches in the means below
  double attention_norm = 0; ///< mean norm of La's gradient
  double classification_norm = 0; ///< mean norm of Lc's gradient
  double cosine = 0; ///< mean cosine between the two, -1 to 1
  /// How much an image's score depends on the features of the other images: the
  /// share of the gradient that lies there, 0 to 1. Above 0 with a BatchNorm in
  /// the head in training mode.
  double batch_coupling = 0;
  double strength = 0; ///< the schedule's, of the last batch

  void add_inert(const std::string& cause) {
    ++inert_batches;
    if (inert_cause.empty()) {
      inert_cause = cause;
    }
  }

  Audit& operator+=(const Audit& other) {
    const auto a = static_cast<double>(measured);
    const auto b = static_cast<double>(other.measured);
    const auto mean = [&](double& mine, double theirs) {
      mine = a + b > 0 ? (a * mine + b * theirs) / (a + b) : 0;
    };
    mean(attention_norm, other.attention_norm);
    mean(classification_norm, other.classification_norm);
    mean(cosine, other.cosine);
    mean(batch_coupling, other.batch_coupling);
    batches += other.batches;
    unguided_batches += other.unguided_batches;
    guided += other.guided;
    saturated += other.saturated;
    flat += other.flat;
    inert_batches += other.inert_batches;
    probability_batches += other.probability_batches;
    detached_batches += other.detached_batches;
    if (inert_cause.empty()) {
      inert_cause = other.inert_cause;
    }
    measured += other.measured;
    strength = other.strength;
    return *this;
  }

  /// What is wrong, a sentence each; empty for a healthy run.
  std::vector<std::string> warnings() const {
    std::vector<std::string> result;
    if (batches > 0 && unguided_batches == batches) {
      result.push_back(fmt::format(
          "no image was guided in {} batches: check the guided classes and the "
          "boxes or masks",
          batches));
    }
    if (inert_batches > 0) {
      result.push_back(fmt::format(
          "the attention loss moves no parameter in {} of {} batches: {}",
          inert_batches,
          batches,
          inert_cause));
    }
    if (detached_batches > 0) {
      result.push_back(fmt::format(
          "the classification loss has no gradient history in {} of {} "
          "batches: it trains nothing",
          detached_batches,
          batches));
    }
    if (probability_batches > 0) {
      result.push_back(fmt::format(
          "the logits look like probabilities in {} of {} batches: class "
          "attention maps are those of raw logits; hand over what the softmax "
          "or sigmoid is taken of",
          probability_batches,
          batches));
    }
    if (guided > 0 && flat == guided) {
      result.push_back(
          fmt::format("all {} guided maps are flat or not finite", guided));
    } else if (guided > 0 && saturated == guided) {
      result.push_back(fmt::format(
          "all {} guided maps are saturated: their inner term is at tau and "
          "has no gradient; raise tau",
          guided));
    }
    if (batch_coupling > 0.9) {
      result.push_back(fmt::format(
          "{:.0f} % of the gradient of an image's score lies in other images: "
          "are the features [T, N, C], tokens before images (or is there a "
          "BatchNorm in the head, and few images)?",
          100 * batch_coupling));
    }
    return result;
  }

  /// A few lines for the log, the warnings last.
  std::string str() const {
    const auto share = [](int64_t part, int64_t whole) {
      return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole)
                       : 0.0;
    };
    auto text = fmt::format(
        "attention audit: {} batches, {} without a guided image, strength "
        "{:.2f}\n"
        "  guided maps {}, saturated {:.0f} %, flat {:.0f} %\n",
        batches,
        unguided_batches,
        strength,
        guided,
        100 * share(saturated, guided),
        100 * share(flat, guided));
    text += measured == 0 ? "  no gradient was measured"
                          : fmt::format(
                                "  gradient of La {:.3g}, of Lc {:.3g}, cosine "
                                "{:.2f}, coupling between images {:.2g}",
                                attention_norm,
                                classification_norm,
                                cosine,
                                batch_coupling);
    for (const auto& warning : warnings()) {
      text += "\n  warning: " + warning;
    }
    return text;
  }
};

namespace detail {

/// The gradients of both terms, and whether the attention's is any.
inline void measure_gradients(
    Audit& audit,
    const torch::Tensor& classification,
    const torch::Tensor& attention,
    const std::vector<torch::Tensor>& parameters,
    const torch::Tensor& features) {
  std::vector<torch::Tensor> trained;
  std::set<const c10::TensorImpl*> known; // a tied parameter is listed twice
  for (const auto& parameter : parameters) {
    if (parameter.requires_grad() &&
        known.insert(parameter.unsafeGetTensorImpl()).second) {
      trained.push_back(parameter);
    }
  }
  if (trained.empty()) {
    audit.add_inert("none of the parameters is trained");
    return;
  }
  const auto of = [&](const torch::Tensor& loss) {
    if (!loss.requires_grad()) {
      return std::vector<torch::Tensor>(trained.size());
    }
    return gradients_of(loss, trained, {features});
  };
  const auto mine = of(attention);
  const auto other = of(classification);
  double reached = 0, a = 0, c = 0, product = 0;
  for (size_t i = 0; i < trained.size(); ++i) {
    const auto flat = [](const torch::Tensor& x) {
      return x.detach().to(torch::kDouble).flatten();
    };
    if (mine[i].defined()) {
      ++reached;
      a += flat(mine[i]).square().sum().item<double>();
    }
    if (other[i].defined()) {
      c += flat(other[i]).square().sum().item<double>();
    }
    if (mine[i].defined() && other[i].defined()) {
      product += flat(mine[i]).dot(flat(other[i])).item<double>();
    }
  }
  audit.measured = 1;
  audit.attention_norm = std::sqrt(a);
  audit.classification_norm = std::sqrt(c);
  audit.cosine = a > 0 && c > 0 ? product / std::sqrt(a * c) : 0;
  if (reached == 0) {
    audit.add_inert(
        "no path leads from it to a trained parameter: the features are "
        "detached from their backbone, or it is frozen");
  } else if (a == 0) {
    audit.add_inert(
        "its gradient is 0: every guided map is flat, or saturated with "
        "nothing outside to lower");
  }
}

/// Whether logits are what a softmax, its logarithm or a sigmoid gives: by the
/// graph, or, where it does not tell, because several classes sum to 1.
inline bool look_like_probabilities(const torch::Tensor& logits) {
  if (!probabilities_by(logits).empty()) {
    return true;
  }
  if (is_binary(logits) || logits.size(0) == 0) {
    return false;
  }
  const auto values = logits.detach().to(torch::kDouble);
  const auto off = (values.sum(1) - 1).abs().max().item<double>();
  return off < 1e-3 && values.min().item<double>() >= 0;
}

/// The share of the first row's score gradient that lies on the features of
/// images that lead to others.
inline void measure_coupling(Audit& audit, const Seen& seen) {
  const auto images = seen.features.size(0);
  if (seen.frozen_head || images < 2) {
    return;
  }
  const auto gradient = score_gradients(
                            seen.features,
                            seen.logits.flatten().slice(0, 0, 1),
                            GradientOrder::kFirst,
                            seen.layout())
                            .to(torch::kDouble);
  const auto rows = seen.rows.defined() ? seen.rows : torch::arange(images);
  const auto of_others = (rows != 0).to(gradient.options());
  const auto norm = gradient.norm().item<double>();
  const auto others =
      (gradient * of_others.view({-1, 1, 1, 1})).norm().item<double>();
  audit.batch_coupling = norm > 0 ? others / norm : 0;
}

/// `Guide::audit`, but for the schedule.
template <class Map, class Loss>
Audit audit_batch(
    const Map& map,
    const Loss& loss,
    const GuideOptions& options,
    const torch::Tensor& classification,
    const Seen& seen,
    const torch::Tensor& target,
    const Regions& regions,
    const std::vector<torch::Tensor>& parameters) {
  const char* where = "care::Guide::audit";
  check_batch(where, seen, target, regions, options);
  check_step(where, classification, {});
  Audit audit;
  audit.batches = 1;
  const bool recording = torch::GradMode::is_enabled();
  const bool history = seen.features.requires_grad();
  audit.probability_batches = look_like_probabilities(seen.logits) ? 1 : 0;
  audit.detached_batches = recording && !classification.requires_grad() ? 1 : 0;
  const auto guided = guided_images(
      where,
      target,
      regions,
      seen.rows,
      options.classes(),
      num_classes(seen.logits));
  if (guided.empty()) {
    audit.unguided_batches = 1;
    return audit;
  }
  const auto attended = history
      ? attend(where, map, loss, options, seen, target, regions)
      : Attended();
  const AttentionFigures all = figures(attended, loss);
  audit.guided = all.guided;
  audit.saturated = all.saturated.item<int64_t>();
  audit.flat = all.flat.item<int64_t>();
  if (!recording || !history || !attended.per_image.requires_grad()) {
    audit.add_inert(
        !recording ? "torch::NoGradGuard is on"
            : !history
            ? "the features have no gradient history: detached, or their "
              "backbone is frozen"
            : "the map or the loss policy detaches the map");
    return audit;
  }
  const bool additive = options.weight().has_value();
  const double factor = options.weight().value_or(options.alpha());
  if (factor == 0) {
    audit.add_inert(additive ? "weight is 0" : "alpha is 0");
    return audit;
  }
  measure_gradients(
      audit,
      additive ? classification : (1 - options.alpha()) * classification,
      factor * attended.per_image.mean(),
      parameters,
      seen.features);
  measure_coupling(audit, seen);
  return audit;
}

} // namespace detail

} // namespace care

#endif // CARE_GUIDE_AUDIT_HPP
