// html: what the reports are made of: style, attention maps, scales of charts.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_HTML_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_HTML_HPP

#include <torch/types.h>
#include <opencv2/core.hpp>

#include <functional>
#include <string>

namespace trainer {

/// The style sheet of a report that needs nothing else.
const char* page_style();

/// The CSS class of an arm; names from outside never become one.
const char* arm_class(const std::string& arm);

/// `image` under a heat map of `map` (`[h, w]`, raw): negatives cut, divided by
/// the maximum, brought up bilinearly. A map without a positive cell leaves the
/// image grey. RGB, 8 bits.
cv::Mat overlay(const cv::Mat& image, const torch::Tensor& map);

/// A step of 1, 2 or 5 times a power of ten, for about five ticks.
double tick_step(double range);

/// The part of the page a chart is drawn in, and its scales.
struct Frame {
  double left = 38, right = 350, top = 10, bottom = 178;
  double x0 = 1, x1 = 2, y0 = 0, y1 = 1;

  double x(double epoch) const {
    return left + (epoch - x0) / (x1 - x0) * (right - left);
  }
  double y(double value) const {
    return bottom - (value - y0) / (y1 - y0) * (bottom - top);
  }
};

/// Upright lines with what `label` writes below them.
std::string x_axis(
    const Frame& frame,
    const std::function<std::string(double)>& label);

/// Lines across, with their values on the left.
std::string y_axis(const Frame& frame);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_HTML_HPP
