// DICOM files as 8-bit RGB, by GDCM: compiled only where it is installed.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_DICOM_HPP
#define RESNET_TRAINER_DICOM_HPP

#include <opencv2/core/mat.hpp>

#include <filesystem>
#include <vector>

namespace trainer {

/// The picture in a DICOM file of those bytes as 8-bit RGB, as a viewer shows
/// it: samples of 8 to 16 bits through the rescale slope and intercept, then
/// through the first window (linear, linear exact or sigmoid; PS3.3 C.11.2).
/// Where the file has none, samples of 8 bits without a sign stay what they
/// are, and others are brought down from the picture's least to its largest.
/// MONOCHROME1 is inverted; RGB and YBR_FULL keep their colours.
///
/// Throws std::runtime_error that names the file for what is damaged, and for
/// several frames, palettes, lookup tables in place of a slope or a window, and
/// samples of more than 16 bits.
cv::Mat read_dicom(
    const std::filesystem::path& file,
    const std::vector<unsigned char>& bytes);

} // namespace trainer

#endif // RESNET_TRAINER_DICOM_HPP
