#include "qllk/files/machine.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <thread>

#include "support/temporary_folder.hpp"

namespace qllk::files {
namespace {

class MachineTest : public ::testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((std::filesystem::path(root_.path()) / path).parent_path());
    test::write_text(root_ / path, text);
  }
  Machine machine() const { return Machine(root_.path()); }

  test::TemporaryFolder root_;
};

constexpr const char* kMeminfo = "MemTotal:        8000 kB\nMemFree:          100 kB\nMemAvailable:    5000 kB\n";

TEST_F(MachineTest, WithoutFilesNothingIsLimited) {
  EXPECT_EQ(machine().memory_limit(), Machine::kUnlimited);
  EXPECT_EQ(machine().available_memory(), Machine::kUnlimited);
  EXPECT_EQ(machine().processors(), static_cast<int>(std::thread::hardware_concurrency()));
}

TEST_F(MachineTest, TheMachinesOwnMemory) {
  put("proc/meminfo", kMeminfo);
  put("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(machine().memory_limit(), 8000U * 1024);
  EXPECT_EQ(machine().available_memory(), 5000U * 1024);
}

TEST_F(MachineTest, Version2LimitsOfAnyGroupAbove) {
  put("proc/meminfo", kMeminfo);
  put("proc/self/cgroup", "0::/outer/inner\n");
  put("sys/fs/cgroup/outer/memory.max", "3000000\n");
  put("sys/fs/cgroup/outer/memory.current", "1500000\n");
  put("sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 400000\n");
  put("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  put("sys/fs/cgroup/outer/inner/memory.current", "1000\n");
  put("sys/fs/cgroup/outer/inner/cpu.max", "100000 100000\n");
  put("sys/fs/cgroup/outer/cpu.max", "max 100000\n");
  EXPECT_EQ(machine().memory_limit(), 3000000U);
  EXPECT_EQ(machine().available_memory(), 3000000U - 1500000U + 400000U);
  EXPECT_EQ(machine().processors(), 1);
}

TEST_F(MachineTest, Version1LimitsOfAnyGroupAbove) {
  put("proc/meminfo", kMeminfo);
  put("proc/self/cgroup", "5:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/box\n");
  put("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "2000000\n");
  put("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "2500000\n");
  put("sys/fs/cgroup/memory/box/memory.stat", "total_inactive_file 100000\n");
  put("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000\n");
  put("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine().memory_limit(), 2000000U);
  EXPECT_EQ(machine().available_memory(), 0U);
  EXPECT_EQ(machine().processors(), 1);
}

TEST_F(MachineTest, NoQuotaIsNoLimit) {
  put("proc/self/cgroup", "4:cpu:/box\n");
  put("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine().processors(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace qllk::files
