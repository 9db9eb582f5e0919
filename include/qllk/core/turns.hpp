// Handing a stream's state from one piece of it to the next while several threads work on the pieces.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "qllk/core/types.hpp"

namespace qllk::inline QLLK_ISA {

/// Which piece's turn it is at each stage of a model.
///
/// A stream is cut into pieces that run at the same time and share one state. At every stage, such as a layer, the
/// pieces must pass in order, as each finds the state that the one before it left: piece 1 is in layer 1 while piece 2
/// is in layer 0. Tasks that are handed out in the order of pieces never wait for one that has not begun.
///
/// Source   wavefront order of a recurrence over layers and time (Appleyard, Kociský and Blunsom 2016, section 3.2)
class Turns {
 public:
  /// Of a pipeline with so many stages.
  explicit Turns(Index stages)
      : passed_(std::make_unique<std::atomic<Index>[]>(static_cast<std::size_t>(stages))), stages_(stages) {
    reset();
  }

  /// All stages wait for piece 0. Not while pieces run.
  void reset() {
    for (Index i = 0; i < stages_; ++i) passed_[static_cast<std::size_t>(i)].store(0, std::memory_order_relaxed);
  }

  /// Lets every piece pass at once, from now on until reset: after an error, so that nobody waits for what will not
  /// come.
  void cancel() {
    for (Index i = 0; i < stages_; ++i) {
      passed_[static_cast<std::size_t>(i)].store(kCancelled, std::memory_order_release);
      passed_[static_cast<std::size_t>(i)].notify_all();
    }
  }

 private:
  friend class Turn;
  static constexpr Index kCancelled = -1;

  QLLK_NOINLINE void wait(Index stage, Index piece) {
    QLLK_ASSERT(stage < stages_);
    auto& passed = passed_[static_cast<std::size_t>(stage)];
    for (Index now; (now = passed.load(std::memory_order_acquire)) != piece && now != kCancelled;) passed.wait(now);
  }
  QLLK_NOINLINE void pass(Index stage, Index piece) {
    auto& passed = passed_[static_cast<std::size_t>(stage)];
    Index expected = piece;
    passed.compare_exchange_strong(expected, piece + 1, std::memory_order_release, std::memory_order_relaxed);
    passed.notify_all();
  }

  std::unique_ptr<std::atomic<Index>[]> passed_;
  Index stages_;
};

/// A piece's place in the order, which a model's forward and backward take. Default: the whole of a stream, which waits
/// for nobody.
class Turn {
 public:
  Turn() = default;
  /// That of a piece.
  Turn(Turns& turns, Index piece) : turns_(&turns), piece_(piece) {}

  /// Runs `use_state` when the pieces before have done so at this stage.
  template <class UseState>
  void operator()(Index stage, UseState&& use_state) const {
    if (turns_ != nullptr) turns_->wait(stage, piece_);
    std::forward<UseState>(use_state)();
    if (turns_ != nullptr) turns_->pass(stage, piece_);
  }

  /// Runs a piece's whole task; when it fails the others do not wait.
  template <class Task>
  void guard(Task&& task) const {
    try {
      std::forward<Task>(task)();
    } catch (...) {
      if (turns_ != nullptr) turns_->cancel();
      throw;
    }
  }

 private:
  Turns* turns_ = nullptr;
  Index piece_ = 0;
};

}  // namespace qllk::inline QLLK_ISA
