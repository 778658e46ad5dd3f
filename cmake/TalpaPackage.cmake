# `cpack` makes a Debian package of the program without libtorch. talpa-lab is not packaged: it is
# linked with the libtorch of a Python environment, which no Debian package holds.
set(CPACK_GENERATOR DEB)
set(CPACK_COMPONENTS_ALL runtime)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME talpa)
set(CPACK_DEBIAN_RUNTIME_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${TALPA_DEBIAN_REVISION})
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${TALPA_MAINTAINER}")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_PACKAGE_CONTACT "${TALPA_MAINTAINER}")
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "mixture-of-experts language models on a CPU
talpa runs, evaluates and serves dense and mixture-of-experts language models
from Hugging Face directories and GGUF files, behind the API of OpenAI. It
knows experts that share a projection into a small latent space.

Commands that train and convert models need talpa-lab, which is built from the
sources of talpa with libtorch.")
include(CPack)
