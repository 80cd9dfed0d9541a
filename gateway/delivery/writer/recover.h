/* What a start finds. */
#pragma once

#include "gateway/delivery/writer/state.h"

int writer_recover(Writer *writer, Error *error);
