// Picture files of any depth and format as 8-bit RGB, and lesion masks.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_PICTURE_HPP
#define RESNET_TRAINER_PICTURE_HPP

#include <opencv2/core.hpp>

#include <filesystem>

namespace trainer {

/// How `read_picture` comes to 8 bits, for files that must say so.
inline constexpr const char* kEightBits =
    "significant bits, else least to most";

/// The picture as 8-bit RGB (not OpenCV's BGR), as it is stored: EXIF
/// orientation is ignored, so that boxes stay true; alpha is dropped.
///
/// More than 8 bits a sample are brought down by the significant bits that a
/// PNG names (sBIT), else by the range from the picture's least to its largest
/// sample, which is said once on the standard error stream. Throws
/// std::runtime_error that names the file and what is wrong with it: missing,
/// cut off, damaged, or too large for OpenCV. DICOM is read by read_dicom,
/// where the program was built with GDCM.
cv::Mat read_picture(const std::filesystem::path& file);

/// The mask in `file` of a picture of `size` (0 x 0: of any): CV_8U, 255 on the
/// lesion.
///
/// Lesion is what is not black, whatever the depth and also in a palette; in a
/// JPEG, JPEG 2000 or lossy WebP, whose black is never quite black, from half
/// of white on. Throws std::runtime_error that names the file where it cannot
/// be read, has another size, or has its shape in its transparency alone.
cv::Mat read_mask(const std::filesystem::path& file, cv::Size size);

/// The picture at another size: along each side a mean over areas where it
/// shrinks, else bilinear.
cv::Mat resized(const cv::Mat& picture, cv::Size size);

/// 8-bit RGB as a file of the path's extension, written as by
/// `write_atomically`.
void write_picture(const std::filesystem::path& path, const cv::Mat& rgb);

} // namespace trainer

#endif // RESNET_TRAINER_PICTURE_HPP
