// TensorBoard event files, written without TensorFlow: TFRecord framing around hand-encoded protobuf messages.
//   record: u64 length | u32 masked crc32c(length) | Event bytes | u32 masked crc32c(Event)     (little-endian)
//   Event:  1 wall_time f64, 2 step i64, 3 file_version, 5 Summary, 7 SessionLog
// Source: tensorflow/core/util/event.proto, framework/summary.proto and lib/io/record_writer.cc (format only).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "csrc/io/file.h"

namespace sy {

// CRC-32C (Castagnoli), e.g. 0xE3069283 for "123456789".
uint32_t crc32c(std::string_view bytes);
// The rotated and offset form that TFRecord stores: a crc of data that holds crcs would be weak.
uint32_t masked_crc32c(std::string_view bytes);

// Appends events to one new file per run start; each record goes out in one write, so a killed run loses none.
class EventWriter {
 public:
  // Creates `folder` and a file in it. With resume_step >= 0, TensorBoard drops what earlier files of the folder hold
  // after that step.
  explicit EventWriter(const std::string& folder, int64_t resume_step = -1);

  const std::string& path() const { return file_.path(); }
  void scalar(const std::string& tag, double value, int64_t step);
  void text(const std::string& tag, std::string_view markdown, int64_t step);

 private:
  void append_event(std::string_view event);

  OutputFile file_;
};

}  // namespace sy
