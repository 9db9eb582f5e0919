# qllk::io: what the headers of file formats need besides qllk::qllk.
if(NOT TARGET qllk::io)
  add_library(qllk::io INTERFACE IMPORTED GLOBAL)
  set_target_properties(qllk::io PROPERTIES INTERFACE_LINK_LIBRARIES "qllk::qllk;nlohmann_json::nlohmann_json")
endif()
