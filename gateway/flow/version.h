/* The program's version: set by meson.build. */
#pragma once

#ifndef SLUICE_VERSION
#error "the build defines SLUICE_VERSION"
#endif
