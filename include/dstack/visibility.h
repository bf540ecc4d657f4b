/** @file visibility.h  Marks the functions that libdstack exports. */
#ifndef DSTACK_VISIBILITY_H
#define DSTACK_VISIBILITY_H

#if defined(SWIG)
#define DSTACK_API
#elif defined(__GNUC__)
#define DSTACK_API __attribute__((visibility("default")))
#else
#define DSTACK_API
#endif

#endif
