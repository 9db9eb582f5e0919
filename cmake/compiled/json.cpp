#include "qllk/io/json_members_impl.hpp"
#include "qllk/io/safetensors_reader_impl.hpp"
#include "qllk/io/safetensors_writer_impl.hpp"
#include "qllk/train/checkpoint_impl.hpp"
