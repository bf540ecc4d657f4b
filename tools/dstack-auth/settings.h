#ifndef AUTH_SETTINGS_H
#define AUTH_SETTINGS_H

#include "service/daemon.h"

extern const daemon_description auth_description;

#endif
