/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The names of our errors: part of the interface, pv-reaperctl(1) lists them. They never change. */

#define BUS_ERROR_UNREAD   "org.pvreaper.Error.AnswersUnread"
#define BUS_ERROR_TIMEOUT  "org.pvreaper.Error.Timeout"
#define BUS_ERROR_TOO_MANY "org.pvreaper.Error.TooManyWaiters"
#define BUS_ERROR_SETTING  "org.pvreaper.Error.InvalidSetting"
#define BUS_ERROR_NO_JOB   "org.pvreaper.Error.NoSuchJob"
#define BUS_ERROR_CONFIG   "org.pvreaper.Error.ConfigurationRefused"
#define BUS_ERROR_STOPPING "org.pvreaper.Error.Stopping"
