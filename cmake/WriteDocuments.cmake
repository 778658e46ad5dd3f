# At install time: writes manual pages, completions and changelogs of the program `talpa`, with the
# `sources` beside it, into `documents`, compressed as Debian's policy asks.
file(REMOVE_RECURSE "${documents}/man" "${documents}/completion")
file(MAKE_DIRECTORY "${documents}/completion")
execute_process(COMMAND "${talpa}" man --out "${documents}/man" COMMAND_ERROR_IS_FATAL ANY)
foreach(completion bash:talpa zsh:_talpa fish:talpa.fish)
  string(REPLACE ":" ";" completion "${completion}")
  list(GET completion 0 shell)
  list(GET completion 1 file)
  execute_process(COMMAND "${talpa}" completion ${shell}
    OUTPUT_FILE "${documents}/completion/${file}" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(COPY_FILE "${sources}/CHANGELOG.md" "${documents}/changelog")
file(GLOB plain "${documents}/man/*.1")
foreach(file IN LISTS plain ITEMS "${documents}/changelog" "${documents}/changelog.Debian")
  execute_process(COMMAND gzip -9nc "${file}" OUTPUT_FILE "${file}.gz" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(REMOVE ${plain})
