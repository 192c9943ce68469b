// Results as a table for people (<stem>.md) and as JSON for bench_compare (<stem>.json). Both are whole after every
// added problem, so that a run which is stopped leaves what it has measured.
#pragma once

#include <string>
#include <vector>

#include "benchmarks/harness/device_facts.h"
#include "benchmarks/harness/measure.h"
#include "kernels/work.h"

namespace sy::bench {

// One contender on one problem.
struct Row {
  std::string benchmark, shape, routing, dtype, contender;
  int64_t tokens = 0;
  Timing timing = {};
  kernels::Work work = {};  // without padding
  double floor_us = 0;      // what the cost file allows; 0: no cost file
  double max_error = 0;     // largest difference to the f64 reference, relative to the largest element; -1: not checked
  double norm_error = 0;    // norm of the differences, relative to the norm of the reference
};

class ResultFiles {
 public:
  // Creates the folder of `stem`. `command` is what to type to repeat the run.
  ResultFiles(std::string stem, DeviceFacts facts, std::string command);
  // Rows of one problem, ours first; the others are its peers.
  void add(const std::vector<Row>& rows);

 private:
  void write() const;

  std::string stem_, command_;
  DeviceFacts facts_;
  std::vector<Row> rows_;
  std::vector<double> over_peer_;  // per row: time of the fastest peer over this one's; 0 without peers
};

// "| benchmark | shape | ... |": one line per row, with a heading.
std::string table(const std::vector<Row>& rows, const std::vector<double>& over_peer);

}  // namespace sy::bench
