/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The names of our errors: part of the interface, pv-reaperctl(1) lists them. They never change. */

#define BUS_ERROR_PREFIX "org.pvreaper.Error." /* and the word of an adopt_answer */

#define BUS_ERROR_UNREAD       BUS_ERROR_PREFIX "AnswersUnread"
#define BUS_ERROR_TIMEOUT      BUS_ERROR_PREFIX "Timeout"
#define BUS_ERROR_TOO_LARGE    BUS_ERROR_PREFIX "MoreThanTheHostHas"
#define BUS_ERROR_NOTHING_LEFT BUS_ERROR_PREFIX "NothingToClear"
#define BUS_ERROR_TOO_MANY     BUS_ERROR_PREFIX "TooManyWaiters"
#define BUS_ERROR_SETTING      BUS_ERROR_PREFIX "InvalidSetting"
#define BUS_ERROR_NO_JOB       BUS_ERROR_PREFIX "NoSuchJob"
#define BUS_ERROR_CONFIG       BUS_ERROR_PREFIX "ConfigurationRefused"
#define BUS_ERROR_STOPPING     BUS_ERROR_PREFIX "Stopping"
