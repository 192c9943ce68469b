// Reads the program's ELF file; asks addr2line for lines. See symbols.h.
#include "tests/cuda_sim/symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>

namespace sy::cuda_sim {
namespace {

struct Image {
  uintptr_t base = 0;
  std::vector<std::pair<uintptr_t, uintptr_t>> constant;  // [begin, end)
};

const Image& image() {
  static const Image found = [] {
    Image result;
    const auto first_is_the_program = [](dl_phdr_info* info, size_t, void* into) {
      Image& result = *static_cast<Image*>(into);
      result.base = info->dlpi_addr;
      for (int i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr)& part = info->dlpi_phdr[i];
        const bool is_constant = (part.p_type == PT_LOAD && !(part.p_flags & PF_W)) || part.p_type == PT_GNU_RELRO;
        const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
        if (is_constant) result.constant.emplace_back(begin, begin + part.p_memsz);
      }
      return 1;
    };
    dl_iterate_phdr(first_is_the_program, &result);
    return result;
  }();
  return found;
}

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                                         std::free);
  return text ? text.get() : name;
}

std::vector<ThreadVariable> read_thread_variables() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::vector<char> elf{std::istreambuf_iterator<char>(file), {}};
  const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(elf.data());
  const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(elf.data() + header->e_shoff);
  std::vector<ThreadVariable> result;
  for (int s = 0; s < header->e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(elf.data() + sections[s].sh_offset);
    const char* names = elf.data() + sections[sections[s].sh_link].sh_offset;
    for (size_t i = 0; i < sections[s].sh_size / sizeof(ElfW(Sym)); ++i)
      if (ELF64_ST_TYPE(symbols[i].st_info) == STT_TLS && symbols[i].st_shndx != SHN_UNDEF && symbols[i].st_size > 0)
        result.push_back({symbols[i].st_value, symbols[i].st_size, demangled(names + symbols[i].st_name)});
  }
  std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  return result;
}

// Lines of addr2line's answer: function and place of the address, then of what it is inlined into.
std::vector<std::string> addr2line(uintptr_t address) {
  const std::string command =
      fmt::format("addr2line -f -i -C -e /proc/{}/exe {:#x} 2>/dev/null", getpid(), address - image_base());
  std::vector<std::string> lines;
  const std::unique_ptr<FILE, decltype(&pclose)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 4096> line{};
  while (pipe && std::fgets(line.data(), static_cast<int>(line.size()), pipe.get()) != nullptr) {
    lines.emplace_back(line.data());
    while (!lines.back().empty() && lines.back().back() == '\n') lines.back().pop_back();
  }
  return lines;
}

}  // namespace

uintptr_t image_base() { return image().base; }

bool is_constant(uintptr_t address, size_t bytes) {
  return std::any_of(image().constant.begin(), image().constant.end(),
                     [&](const auto& range) { return address >= range.first && address + bytes <= range.second; });
}

const std::vector<ThreadVariable>& thread_variables() {
  static const std::vector<ThreadVariable> variables = read_thread_variables();
  return variables;
}

std::string statement_before(uintptr_t return_address) {
  const std::vector<std::string> lines = addr2line(return_address - 1);
  for (size_t i = 0; i + 1 < lines.size(); i += 2) {
    const std::string place = lines[i + 1].substr(0, lines[i + 1].find(' '));  // without " (discriminator 2)"
    if (place.find("cuda_sim/device.h:") != std::string::npos) continue;       // an atomic: its caller says more
    return place.substr(place.rfind('/') + 1);
  }
  return fmt::format("image + {:#x}", return_address - image_base());
}

std::string function_at(uintptr_t address) {
  const std::vector<std::string> lines = addr2line(address);
  return lines.empty() ? fmt::format("image + {:#x}", address - image_base()) : lines.front();
}

}  // namespace sy::cuda_sim
