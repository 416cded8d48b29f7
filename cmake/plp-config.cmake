# find_package(plp) gives the target plp::plp. Found from this file's own place, so that an installation can be moved;
# its true one, since CMake may have come by a link, such as /lib.

get_filename_component(_plp_here "${CMAKE_CURRENT_LIST_DIR}" REALPATH)
get_filename_component(_plp_prefix "${_plp_here}/../../.." ABSOLUTE)
if(NOT TARGET plp::plp)
    add_library(plp::plp SHARED IMPORTED)
    set_target_properties(plp::plp PROPERTIES
        IMPORTED_LOCATION "${_plp_prefix}/lib/libplp.so.0"
        IMPORTED_SONAME libplp.so.0
        INTERFACE_INCLUDE_DIRECTORIES "${_plp_prefix}/include")
endif()
unset(_plp_here)
unset(_plp_prefix)
