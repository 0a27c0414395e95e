/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The hand-off protocol of pv-reaper: NVM guests, each with a VMM, a keeper and an heir, and one
 * daemon, under faults. src/base/wire.h has the messages; this file has who may do what when.
 * ./check runs it; README.md says what it found and what it leaves out.
 *
 * Every step of a process is an inline or a label with the process's name in front: keeper_drain,
 * daemon_grant, heir_perform, vmm_ring, ... PERFORM itself is take_slot and finish_slot. The
 * code's comments cite those names. An atomic block is what nobody can look into: one system call,
 * or one turn of a loop that answers one packet.
 *
 * Time does not exist here. A clock that may run out is a step that may be taken; "waits for ever"
 * is a quiet state: nobody can take a step any more. monitor() looks at each such state. Who is
 * busy for ever and gets nowhere is not quiet: with ENDLESS, every_job_ends looks for that.
 *
 * The rules are on. -DSEED=NAME switches one off: the seeded error that ./check must find.
 */

/* --- The rules, named by what goes wrong without them ------------------------------------- */

#define GRANT_BOUND_TO_JOB 1      /* a GRANT is a slot for the worker's current job */
#define NO_HEIR 2                 /* the heir performs once when the keeper is gone */
#define NO_HEIR_AFTER_LEAVE 3     /* ... also when pvr_vm_free() made it go */
#define LEAVE_KILLS 4             /* pvr_vm_free() lets a running PERFORM end */
#define FULL_BELL_FAILS 5         /* EAGAIN at the sender of a bell is success */
#define DRAIN_AFTER_PERFORM 6     /* bells are emptied before PERFORM, never after its start */
#define EINVAL_FATAL 7            /* -EINVAL of the VMM's own PERFORM means: done already */
#define EINVAL_IS_DONE 8          /* a job that found nothing is superseded, not done */
#define OUTCOME_BLOCKS 9          /* the keeper never waits for a reader of outcomes */
#define NO_FAIL_OPEN 10           /* a worker that no daemon answers goes ahead */
#define NO_WELCOME_WAIT 11        /* ... its clock stops at WELCOME, not at connect() */
#define FAILED_REQUEST_LOST 12    /* a REQUEST that could not be sent is sent again */
#define FAILED_DONE_LOST 13       /* ... and so is a DONE: a failed send is a lost connection */
#define NO_RECOUNT 14             /* a new daemon counts every worker it finds in our cgroups */
#define GRANT_BEFORE_MOVE 15      /* no GRANT to a worker outside our cgroups */
#define HANGUP_FREES_SLOT 16      /* a worker whose connection is lost still counts */
#define NO_OVERDUE 17             /* a counted worker that stands still stops counting */
#define RECONNECT_BEFORE_EOF 18   /* nothing of the old connection is read after the new REGISTER */
#define NOT_REPEATED 19           /* an outcome is kept until DONE_ACK and repeated in REGISTER */
#define NOT_SENT_AT_WELCOME 20    /* an outcome newer than the REGISTER is sent at WELCOME */
#define REQUEST_BEFORE_OUTCOME 21 /* ... and before the REQUEST, whose slot its DONE would free */
#define REPEATS_REPORTED 22       /* the daemon ignores what its mark says was reported */
#define MARK_IN_MEMORY 23         /* the mark is kept on the worker's cgroup */
#define MARK_AFTER_REPORT 24      /* the mark is set before the report is made */
#define STALE_GRANT_USED 25       /* a GRANT that crossed a BEGUN is for no later job */

/* Without these somebody is busy for ever, so there is no quiet state: see every_job_ends. */
#define REPEAT_HANGS_UP 30 /* a repeat is acknowledged: whoever is hung up on brings it again */
#define CLOCK_RESTARTS 31  /* the fail-open clock runs on when a connection had no WELCOME */

/* Rules that save work, or stand against what never arises. Without them nothing is violated. */
#define NO_DRAIN 40          /* all bells together are one job: saves jobs that find nothing */
#define NO_REPLACEMENT 41    /* a dead VMM's request becomes a shutdown: saves a PERFORM */
#define GRANT_THROWN_AWAY 42 /* a GRANT found before EOF is used: saves a turn in the queue */
#define CANCEL_SWALLOWED 43  /* a GRANT one cannot use is answered */

/* Not rules but assumptions about time. */
#define THAW 60             /* who was overdue does not begin later */
#define CRASHES_FOR_EVER 61 /* a daemon that comes back stays up in the end */

#ifndef SEED
#define SEED 0
#endif
#define BUG(name) (SEED == name)

/* --- Size of the world, and the faults it may see ----------------------------------------- */

#ifndef NVM
#define NVM 1 /* guests: 1 or 2 */
#endif
#ifndef NR
#define NR 2 /* reboots of each */
#endif
#ifndef NMAX
#define NMAX 1 /* max-concurrent */
#endif
#ifndef BELLS
#define BELLS 1 /* bells the socketpair holds */
#endif
#ifndef CRASHES
#define CRASHES 0 /* kill -9 of the daemon; systemd keeps the socket */
#endif
#ifndef STOPS
#define STOPS 0 /* the socket unit is stopped: UNGOVERNED to all */
#endif
#ifndef KICKS
#define KICKS 0 /* the daemon hangs up on a worker and lives on */
#endif
#ifndef SEND_FAILURES
#define SEND_FAILURES 0 /* of REQUEST and DONE */
#endif
#ifndef KEEPER_KILLS
#define KEEPER_KILLS 0
#endif
#ifndef VMM_KILLS
#define VMM_KILLS 0 /* of the first VMM */
#endif
#ifndef QUITS
#define QUITS 0 /* 1: a VMM may quit after its reboots */
#endif
#ifndef FREES
#define FREES 0 /* calls of pvr_vm_free() in the first VMM */
#endif
#ifndef BEGINS
#define BEGINS 0 /* reboots that a keeper begins while it waits, for its VMM cannot */
#endif
#ifndef STUCK
#define STUCK 0 /* 1: the first keeper may stand still for ever (SIGSTOP) outside PERFORM */
#endif
#ifndef REFUSES
#define REFUSES 0 /* 1: who registers may be dropped without a word, any number of times */
#endif
#ifndef AWAY
#define AWAY 0 /* 1: a daemon that went may never come back */
#endif

#ifndef ENDLESS
#define ENDLESS 0 /* 1: a crash, stop, hang-up, failing send may come again and again until calm */
#endif
#define SPENT (1 - ENDLESS)

#define NONE 255
#define I(v, k) ((v) * NR + (k))
#define BIT(n) (1 << (n))

/* --- What must hold. An assertion's text names the guarantee of the design ---------------- */

hidden byte G2_two_ends;                    /* an end for what has one, or was never set aside */
hidden byte G2_interrupted_without_a_kill;
hidden byte G2_set_aside_and_forgotten;     /* quiet, and nobody will ever clear it */
hidden byte G2_vmm_dies_of_EINVAL;
hidden byte G3_more_than_max_concurrent;
hidden byte G3_vmm_works_beside_its_keeper; /* ungoverned, though a keeper would do it */
hidden byte G5_job_waits_for_ever;
hidden byte G5_slot_lost;                   /* quiet, and the daemon counts somebody */
hidden byte G8_reported_twice;
hidden byte G8_outcome_lost;                /* quiet, connected, and the daemon does not know it */
hidden byte G8_done_but_was_not;
hidden byte model_too_small;                /* a channel would overflow: raise its size */

/* --- Shared state ------------------------------------------------------------------------- */

/* Of incarnation k of guest v. LEFTOVER: an interrupted PERFORM; the rest waits for DISABLE or the
 * VM's end. SYNC: never set aside, torn down by DISABLE. */
mtype:fate = { LIVE, ASIDE, TAKEN, PERFORMED, LEFTOVER, BY_DISABLE, BY_VM_END, SYNC };
mtype:fate fate[NVM * NR];
byte aside[NVM];     /* the kernel's one slot */
byte by_keeper[NVM]; /* what a PERFORM is at work on, by who called it */
byte by_heir[NVM];
byte by_vmm[NVM];

bool vmm_alive[NVM];
bool keeper_alive[NVM];
bool vmm_kill[NVM];    /* the environment's wish */
bool keeper_kill[NVM];
bool freed[NVM];       /* pvr_vm_free() was called: LEAVE is on its way */
byte bell[NVM];        /* unread bells in the socketpair */
byte fallback[NVM];    /* hand-offs that the VMM's own thread took on */
bool unread[NVM];      /* the outcome socket is full: this VMM never reads */

mtype:job = { IDLE, REBOOT, SHUTDOWN };
mtype:job job[NVM];  /* of the keeper */
bool stuck[NVM];
bool resting[NVM];   /* had UNGOVERNED: does not connect before its next job */
byte counted;        /* governed work in progress, in truth */

/* A connection. QUEUED: connect() returned; the packets wait in the backlog. HUNGUP: the daemon's
 * end is closed; what it had sent can still be read, then EOF. */
mtype:link = { NOT, QUEUED, OPEN, HUNGUP };
mtype:link link[NVM];
mtype = { REGISTER, REQUEST, BEGUN, DONE, CANCELED /* DONE{-ECANCELED} */,
	  WELCOME, GRANT, DONE_ACK, UNGOVERNED };
#define PACKETS (4 + 2 * BEGINS)
chan to_daemon[NVM] = [PACKETS] of { mtype, byte /* job number; in REGISTER: of the last outcome */ };
chan to_keeper[NVM] = [PACKETS] of { mtype, byte };
bool welcomed[NVM];
#define AT_EOF(v) (link[v] == HUNGUP && len(to_keeper[v]) == 0)

bool listening;    /* systemd's socket: with or without a daemon behind it */
bool daemon_up;
bool daemon_crash; /* the environment's wishes */
bool daemon_stop;
bool calm;         /* no more faults will come: ENDLESS only */
byte kicks;
byte send_failures;
byte begins;
bool running[NVM];   /* the daemon counts this worker */
byte queued[NVM];    /* its REQUEST's number */
bool in_cgroup[NVM]; /* it was moved: outlives the daemon */
byte mark[NVM];      /* the last outcome reported: on the worker's cgroup, outlives the daemon */

byte reported[NVM]; /* in truth, a bit per job */
byte owed[NVM];     /* outcomes that nobody heard of and that were not counted as unreported */

inline flush(c)
{
	do
	:: len(c) > 0 -> c?_, _
	:: else -> break
	od
}

inline send(c, type, number)
{
	model_too_small = (len(c) >= PACKETS);
	assert(!model_too_small);
	c!type, number
}

/* --- The kernel: one unnamed slot per VM -------------------------------------------------- */

inline kernel_move(v, k, from, to)
{
	G2_two_ends = (fate[I(v, k)] != from);
	assert(!G2_two_ends);
	fate[I(v, k)] = to
}

inline kernel_prepare(v, k)
{
	kernel_move(v, k, LIVE, ASIDE);
	aside[v] = k
}

/* PERFORM up to where PREPARE works again; who stays NONE for -EINVAL. */
inline take_slot(v, who)
{
	if
	:: aside[v] != NONE ->
		kernel_move(v, aside[v], ASIDE, TAKEN);
		who = aside[v];
		aside[v] = NONE
	:: else
	fi
}

inline finish_slot(v, who)
{
	kernel_move(v, who, TAKEN, PERFORMED);
	who = NONE
}

inline kernel_interrupt(v, who)
{
	if
	:: who != NONE ->
		kernel_move(v, who, TAKEN, LEFTOVER);
		who = NONE
	:: else
	fi
}

hidden byte i;
inline kernel_disable(v, k)
{
	if
	:: aside[v] != NONE ->
		kernel_move(v, aside[v], ASIDE, BY_DISABLE);
		aside[v] = NONE
	:: else
	fi;
	i = 0;
	do
	:: i < NR && fate[I(v, i)] == LEFTOVER -> fate[I(v, i)] = BY_DISABLE
	:: i < NR && fate[I(v, i)] != LEFTOVER -> i++
	:: else -> break
	od;
	kernel_move(v, k, LIVE, SYNC)
}

/* When the last process that shares the address space is gone. */
inline kernel_vm_end(v)
{
	if
	:: !vmm_alive[v] && !keeper_alive[v] ->
		aside[v] = NONE;
		i = 0;
		do
		:: i < NR ->
			G2_two_ends = (fate[I(v, i)] == TAKEN);
			assert(!G2_two_ends);
			if
			:: fate[I(v, i)] == ASIDE || fate[I(v, i)] == LEFTOVER ->
				fate[I(v, i)] = BY_VM_END
			:: else
			fi;
			i++
		:: else -> break
		od
	:: else
	fi
}

/* --- The VMM, and its library ------------------------------------------------------------- */

/* One non-blocking send(2). */
inline vmm_ring(v)
{
	if
	:: keeper_alive[v] && bell[v] < BELLS -> bell[v]++
	:: keeper_alive[v] && bell[v] == BELLS -> /* EAGAIN: a bell not yet read takes it */
		if
		:: BUG(FULL_BELL_FAILS) ->
			G3_vmm_works_beside_its_keeper = true;
			assert(!G3_vmm_works_beside_its_keeper)
		:: else
		fi
	:: else -> fallback[v]++ /* EPIPE */
	fi
}

proctype vmm(byte v)
{
	byte k;
	{
		do
		:: k < NR && !freed[v] -> /* pvr_vm_disable_async() */
			if
			:: atomic {
				aside[v] == NONE ->
				kernel_prepare(v, k);
				k++
			   };
			   atomic { vmm_ring(v) }
			:: atomic {
				aside[v] != NONE -> /* PREPARE: -EINVAL */
				kernel_disable(v, k);
				k++
			   }
			fi
		:: atomic {
			k < NR && freed[v] ->
			kernel_disable(v, k);
			k++
		   }
		:: FREES && v == 0 && !freed[v] ->
vmm_free:		atomic {
				freed[v] = true;
				if
				:: BUG(LEAVE_KILLS) && keeper_alive[v] ->
					G2_interrupted_without_a_kill = (by_keeper[v] != NONE);
					assert(!G2_interrupted_without_a_kill);
					keeper_kill[v] = true
				:: else
				fi
			}
		:: k == NR && QUITS -> break
		:: k == NR ->
end_vmm_lives:		(FREES && v == 0 && !freed[v])
		od
	} unless { vmm_kill[v] };
vmm_dies:
	atomic {
		vmm_kill[v] = false;
		vmm_alive[v] = false;
		kernel_interrupt(v, by_vmm[v]);
		kernel_interrupt(v, by_heir[v]);
		fallback[v] = 0;
		k = 0;
		kernel_vm_end(v)
	}
}

/* -EINVAL: the heir, or DISABLE, was faster. */
inline vmm_own_perform(v)
{
	fallback[v]--;
	take_slot(v, by_vmm[v]);
	G2_vmm_dies_of_EINVAL = (BUG(EINVAL_FATAL) && by_vmm[v] == NONE);
	assert(!G2_vmm_dies_of_EINVAL)
}

/* The thread of pvr_vm_disable_async() for when the bell could not be rung. */
proctype vmm_thread(byte v)
{
end_no_hand_off:
	do
	:: atomic { fallback[v] > 0 && by_vmm[v] == NONE -> vmm_own_perform(v) }
	:: atomic { by_vmm[v] != NONE -> finish_slot(v, by_vmm[v]) }
	od
}

/* The thread that waits for its keeper's death, inside the VMM. */
proctype heir(byte v)
{
end_keeper_alive:
	atomic {
		!keeper_alive[v] ->
		if
		:: vmm_alive[v] && !BUG(NO_HEIR) && !(BUG(NO_HEIR_AFTER_LEAVE) && freed[v]) ->
heir_perform:		take_slot(v, by_heir[v])
		:: else
		fi
	};
	atomic {
		if
		:: by_heir[v] != NONE -> finish_slot(v, by_heir[v])
		:: else /* -EINVAL, or the VMM died meanwhile */
		fi
	}
}

/* --- The keeper --------------------------------------------------------------------------- */

/* Reads all bells there are: right before PERFORM, and whenever the loop finds some. */
inline keeper_drain(v)
{
	if
	:: BUG(NO_DRAIN) && bell[v] > 0 -> bell[v]--
	:: else -> bell[v] = 0
	fi
}

inline keeper_begin_job(v, kind)
{
	job[v] = kind;
	number++;
	asked = false;
	resting[v] = false
}

/* HELLO and REGISTER. connect() succeeds whenever somebody listens, dead daemons included. */
inline keeper_connect(v)
{
	link[v] = QUEUED;
	welcomed[v] = BUG(NO_WELCOME_WAIT);
	send(to_daemon[v], REGISTER, last)
}

/* The keeper closes. The daemon forgets this connection before it looks at the next one. */
inline keeper_part(v)
{
	link[v] = NOT;
	welcomed[v] = false;
	asked = false;
	flush(to_keeper[v]);
	flush(to_daemon[v])
}

inline keeper_send_failed(v, bug)
{
	send_failures = send_failures - SPENT;
	if
	:: !BUG(bug) -> keeper_part(v)
	:: else
	fi
}

/* The old connection is read to its end first. */
inline keeper_eof(v)
{
	link[v] = NOT;
	welcomed[v] = false;
	asked = false;
	if
	:: BUG(GRANT_THROWN_AWAY) -> flush(to_keeper[v])
	:: BUG(NOT_REPEATED) -> last = 0
	:: else
	fi
}

inline keeper_welcomed(v)
{
	welcomed[v] = true;
	if
	:: link[v] == OPEN && last != 0 && !BUG(NOT_SENT_AT_WELCOME) &&
	   !(BUG(REQUEST_BEFORE_OUTCOME) && job[v] != IDLE) ->
		send(to_daemon[v], DONE, last)
	:: else
	fi
}

inline keeper_acknowledged(v, number)
{
	if
	:: number == last -> last = 0
	:: else
	fi
}

inline keeper_request(v)
{
	asked = true;
	send(to_daemon[v], REQUEST, number);
	if
	:: BUG(REQUEST_BEFORE_OUTCOME) && last != 0 ->
		send(to_daemon[v], DONE, last)
	:: else
	fi
}

/* UNGOVERNED: this connection is of no use, and a new one not wanted before the next job. */
inline keeper_ungoverned(v)
{
	resting[v] = true;
	keeper_part(v)
}

/* The slot of a GRANT that crossed our BEGUN is that job's, which is over when this is read. */
#define VOID(seq) (seq <= begun_number && !BUG(STALE_GRANT_USED))

/* The VMM needs the kernel's slot: go ahead, and say so to whom has our REQUEST. */
inline keeper_begun(v)
{
	begins--;
	begun_number = number;
	if
	:: link[v] == OPEN && asked -> send(to_daemon[v], BEGUN, number)
	:: else /* DONE will tell */
	fi
}

/* Whatever number the GRANT names, it is a slot for the current job. */
inline keeper_grant(v, seq)
{
	governed = !(BUG(GRANT_BOUND_TO_JOB) && seq != number) && !VOID(seq)
}

/* A GRANT without a job. */
inline keeper_cancel(v, seq)
{
	if
	:: link[v] == OPEN && !BUG(CANCEL_SWALLOWED) && !VOID(seq) -> send(to_daemon[v], CANCELED, seq)
	:: else
	fi
}

/* The VMM died before the job began: its set-aside VM goes with the rest. A GRANT under way is not
 * lost by this: it is a slot for whatever the current job is. */
inline keeper_vmm_died(v)
{
	bell[v] = 0;
	keeper_begin_job(v, SHUTDOWN)
}


inline keeper_count(v)
{
	if
	:: governed ->
		counted++;
		G3_more_than_max_concurrent = (counted > NMAX);
		assert(!G3_more_than_max_concurrent)
	:: else
	fi
}

inline keeper_uncount(v)
{
	if
	:: governed && begun -> counted--
	:: else
	fi;
	governed = false;
	begun = false
}

/* After PERFORM: the outcome is kept until DONE_ACK; an older one is counted as unreported. */
inline keeper_done(v)
{
	if
	:: by_keeper[v] != NONE -> finish_slot(v, by_keeper[v])
	:: else ->
		G8_done_but_was_not = BUG(EINVAL_IS_DONE);
		assert(!G8_done_but_was_not)
	fi;
	keeper_uncount(v);
	if
	:: last != 0 -> owed[v] = owed[v] & ~BIT(last)
	:: else
	fi;
	last = number;
	owed[v] = owed[v] | BIT(number);
	if
	:: link[v] == OPEN && welcomed[v] -> send(to_daemon[v], DONE, last)
	:: link[v] == OPEN && welcomed[v] && send_failures > 0 -> keeper_send_failed(v, FAILED_DONE_LOST)
	:: else
	fi
}

proctype keeper(byte v)
{
	byte number;   /* of the current job */
	byte begun_number; /* of the last job that was begun without waiting, 0: none */
	byte last;     /* number of the outcome that was not acknowledged, 0: none */
	bool asked;    /* REQUEST was sent on this connection */
	bool governed;
	bool begun;
	byte seq;
	{
		skip;
keeper_idle:
end_keeper_idle:
		if
		:: atomic {
			bell[v] > 0 ->
			keeper_drain(v);
			keeper_begin_job(v, REBOOT)
		   };
		   goto keeper_wait
		:: atomic {
			!vmm_alive[v] ->
			keeper_vmm_died(v)
		   };
		   goto keeper_wait
		:: freed[v] -> goto keeper_leave
		:: atomic { link[v] == NOT && listening && !resting[v] -> keeper_connect(v) };
		   goto keeper_idle
		:: atomic { to_keeper[v]?WELCOME, _ -> keeper_welcomed(v) }; goto keeper_idle
		:: atomic { to_keeper[v]?DONE_ACK, seq -> keeper_acknowledged(v, seq); seq = 0 };
		   goto keeper_idle
		:: atomic { to_keeper[v]?GRANT, seq -> keeper_cancel(v, seq); seq = 0 };
		   goto keeper_idle
		:: atomic { to_keeper[v]?UNGOVERNED, _ -> keeper_ungoverned(v) }; goto keeper_idle
		:: atomic { AT_EOF(v) -> keeper_eof(v) }; goto keeper_idle
		:: STUCK && v == 0 && in_cgroup[v] -> goto keeper_stuck
		fi;

keeper_wait: /* for a slot, or for the fail-open clock */
		if
		:: atomic { link[v] == NOT && listening -> keeper_connect(v) }; goto keeper_wait
		:: atomic { link[v] == OPEN && welcomed[v] && !asked -> keeper_request(v) };
		   goto keeper_wait
		:: atomic {
			link[v] == OPEN && welcomed[v] && !asked && send_failures > 0 ->
			asked = true;
			keeper_send_failed(v, FAILED_REQUEST_LOST)
		   };
		   goto keeper_wait
		:: atomic { to_keeper[v]?WELCOME, _ -> keeper_welcomed(v) }; goto keeper_wait
		:: atomic { to_keeper[v]?DONE_ACK, seq -> keeper_acknowledged(v, seq); seq = 0 };
		   goto keeper_wait
		:: atomic {
			to_keeper[v]?GRANT, seq ->
			keeper_grant(v, seq);
			seq = 0
		   };
		   if
		   :: governed -> goto keeper_begin
		   :: else -> goto keeper_wait
		   fi
		:: atomic { to_keeper[v]?UNGOVERNED, _ -> keeper_ungoverned(v) };
		   goto keeper_begin
		:: atomic {
			AT_EOF(v) || (link[v] == HUNGUP &&
				      (BUG(RECONNECT_BEFORE_EOF) || BUG(GRANT_THROWN_AWAY))) ->
			keeper_eof(v)
		   };
		   goto keeper_wait
keeper_fail_open:
		:: !welcomed[v] && !BUG(NO_FAIL_OPEN) -> goto keeper_begin
		:: atomic {
			!vmm_alive[v] && job[v] == REBOOT && !BUG(NO_REPLACEMENT) ->
			keeper_vmm_died(v)
		   };
		   goto keeper_wait
		:: atomic { bell[v] > 0 && !BUG(NO_DRAIN) -> keeper_drain(v) }; goto keeper_wait
		:: atomic { begins > 0 && vmm_alive[v] && job[v] == REBOOT -> keeper_begun(v) };
		   goto keeper_begin
		:: freed[v] && job[v] == REBOOT -> goto keeper_leave
		:: STUCK && v == 0 && in_cgroup[v] -> goto keeper_stuck
		fi;

keeper_begin: /* with a slot, or without */
		if
		:: freed[v] && job[v] == REBOOT -> goto keeper_leave
		:: atomic { job[v] == SHUTDOWN -> begun = true; keeper_count(v) };
keeper_release:	   goto keeper_leave
		:: atomic {
			job[v] == REBOOT ->
			if
			:: !BUG(DRAIN_AFTER_PERFORM) && !BUG(NO_DRAIN) -> keeper_drain(v)
			:: else
			fi
		   }
		fi;
keeper_perform:
		atomic {
			take_slot(v, by_keeper[v]);
			begun = (by_keeper[v] != NONE);
			if
			:: begun -> keeper_count(v)
			:: else
			fi
		};
		if
		:: BUG(DRAIN_AFTER_PERFORM) -> keeper_drain(v)
		:: else
		fi;
		atomic { keeper_done(v) };
keeper_tell_vmm: /* non-blocking: dropped and counted when nobody reads */
		atomic {
			!BUG(OUTCOME_BLOCKS) || !unread[v] || !vmm_alive[v] ->
			unread[v] = true;
			job[v] = IDLE
		};
		goto keeper_idle;

keeper_stuck:
		stuck[v] = true;
		if
		:: BUG(THAW) ->
			(!running[v]);
			stuck[v] = false;
			if
			:: job[v] == IDLE -> goto keeper_idle
			:: else -> goto keeper_wait
			fi
		:: else
		fi;
end_keeper_stuck:
		false;

keeper_leave:
		skip
	} unless { keeper_kill[v] };
keeper_dies:
	atomic {
		keeper_kill[v] = false;
		keeper_alive[v] = false;
		kernel_interrupt(v, by_keeper[v]);
		keeper_uncount(v);
		link[v] = NOT;
		flush(to_keeper[v]);
		flush(to_daemon[v]);
		bell[v] = 0;
		owed[v] = 0;
		reported[v] = 0;
		job[v] = IDLE;
		resting[v] = false;
		stuck[v] = false;
		number = 0;
		begun_number = 0;
		last = 0;
		welcomed[v] = false;
		asked = false;
		seq = 0;
		kernel_vm_end(v)
	}
}

/* --- The daemon --------------------------------------------------------------------------- */

#if NVM > 1
#define RUNNING (running[0] + running[1])
#else
#define RUNNING running[0]
#endif

/* At start: who is found in our cgroups may be at work by a GRANT of the daemon before. */
inline daemon_recount(v)
{
	queued[v] = 0;
	running[v] = (in_cgroup[v] && keeper_alive[v] && !BUG(NO_RECOUNT));
	if
	:: BUG(MARK_IN_MEMORY) -> mark[v] = 0
	:: else
	fi
}

inline daemon_move(v) { in_cgroup[v] = true }

/* The move into our cgroup, then WELCOME. A worker that registers is not at work. */
inline daemon_register(v)
{
	link[v] = OPEN;
	if
	:: !BUG(GRANT_BEFORE_MOVE) -> daemon_move(v)
	:: else
	fi;
	running[v] = false;
	queued[v] = 0;
	send(to_keeper[v], WELCOME, 0)
}

inline daemon_mark(v, number)
{
	repeat = (number <= mark[v] && !BUG(REPEATS_REPORTED));
	if
	:: number > mark[v] && !BUG(MARK_AFTER_REPORT) -> mark[v] = number
	:: else
	fi
}

/* The log line, the counters, the signal. */
inline daemon_report(v, number)
{
	if
	:: !repeat ->
		G8_reported_twice = ((reported[v] & BIT(number)) != 0);
		assert(!G8_reported_twice);
		reported[v] = reported[v] | BIT(number)
	:: else
	fi;
	owed[v] = owed[v] & ~BIT(number)
}

inline daemon_hangup(v)
{
	link[v] = HUNGUP;
	flush(to_daemon[v]);
	queued[v] = 0;
	if
	:: BUG(HANGUP_FREES_SLOT) -> running[v] = false
	:: else
	fi
}

/* A GRANT crossed this REQUEST: the slot is for the worker's current job, so that is this one. */
inline daemon_relabel(v) { skip }

inline daemon_request(v, number)
{
	if
	:: running[v] -> daemon_relabel(v)
	:: else -> queued[v] = number
	fi
}

/* It counts over the limit, unless our GRANT crossed its BEGUN: then it counts already. */
inline daemon_begun(v, number)
{
	if
	:: !running[v] && queued[v] == number -> running[v] = true; queued[v] = 0
	:: else
	fi
}

/* Its CPU time stands still. */
inline daemon_overdue(v) { running[v] = false }

inline daemon_grant(v)
{
	running[v] = true;
	send(to_keeper[v], GRANT, queued[v]);
	queued[v] = 0
}

#define SERVE(v) \
	:: atomic { \
		to_daemon[v]?REGISTER, number -> \
		daemon_register(v); \
		if \
		:: number != 0 -> w = v; daemon_mark(v, number); goto daemon_outcome \
		:: else \
		fi \
	   } \
	:: atomic { REFUSES && to_daemon[v]?[REGISTER] -> daemon_hangup(v) } \
	:: atomic { to_daemon[v]?REQUEST, number -> daemon_request(v, number); number = 0 } \
	:: atomic { to_daemon[v]?BEGUN, number -> daemon_begun(v, number); number = 0 } \
	:: atomic { \
		to_daemon[v]?DONE, number -> \
		running[v] = false; \
		w = v; \
		daemon_mark(v, number); \
		goto daemon_outcome \
	   } \
	:: atomic { \
		to_daemon[v]?CANCELED, number -> \
		running[v] = false; \
		number = 0 \
	   } \
	:: atomic { \
		queued[v] != 0 && link[v] == OPEN && !running[v] && RUNNING < NMAX -> \
		daemon_grant(v) \
	   } \
	:: atomic { BUG(GRANT_BEFORE_MOVE) && running[v] && !in_cgroup[v] -> daemon_move(v) } \
	:: atomic { (running[v] || queued[v] != 0) && !keeper_alive[v] -> \
		running[v] = false; queued[v] = 0 } /* its cgroup emptied */ \
	:: atomic { running[v] && (stuck[v] || resting[v]) && by_keeper[v] == NONE && \
		    !BUG(NO_OVERDUE) -> daemon_overdue(v) } \
	:: atomic { kicks > 0 && link[v] == OPEN -> kicks = kicks - SPENT; daemon_hangup(v) }

/* A daemon's end, seen by a worker. In the backlog nothing happens unless the socket goes too. */
inline daemon_gone(v)
{
	if
	:: link[v] == OPEN && daemon_stop -> send(to_keeper[v], UNGOVERNED, 0); link[v] = HUNGUP
	:: link[v] == OPEN && !daemon_stop -> link[v] = HUNGUP
	:: link[v] == QUEUED && daemon_stop -> link[v] = HUNGUP
	:: else
	fi;
	if
	:: link[v] == HUNGUP -> flush(to_daemon[v])
	:: else
	fi;
	queued[v] = 0;
	running[v] = false
}

proctype daemon()
{
	byte number;
	byte w;
	bool repeat;
daemon_start:
	atomic {
		daemon_up = true;
		listening = true;
		daemon_recount(0);
#if NVM > 1
		daemon_recount(1)
#endif
	};
	{
daemon_loop:
end_daemon_loop:
		do
		SERVE(0)
#if NVM > 1
		SERVE(1)
#endif
		od;
daemon_outcome: /* marked by now */
		atomic { daemon_report(w, number) };
		if
		:: BUG(MARK_AFTER_REPORT) -> mark[w] = number
		:: else
		fi;
daemon_acknowledge:
		atomic {
			if
			:: link[w] == OPEN && repeat && BUG(REPEAT_HANGS_UP) -> daemon_hangup(w)
			:: link[w] == OPEN && !(repeat && BUG(REPEAT_HANGS_UP)) ->
				send(to_keeper[w], DONE_ACK, number)
			:: link[w] == OPEN && kicks > 0 -> kicks = kicks - SPENT; daemon_hangup(w)
			:: else
			fi;
			number = 0;
			w = 0;
			repeat = false
		};
		goto daemon_loop
	} unless { daemon_crash || daemon_stop };
	atomic {
		if
		:: number != 0 && mark[w] >= number ->
			owed[w] = owed[w] & ~BIT(number) /* marked, not reported: the price */
		:: else
		fi;
		number = 0;
		w = 0;
		repeat = false;
		daemon_gone(0);
#if NVM > 1
		daemon_gone(1);
#endif
		listening = !daemon_stop;
		daemon_up = false;
		daemon_crash = false;
		daemon_stop = false
	};
	if
	:: goto daemon_start
	:: AWAY ->
end_daemon_away:
		false
	fi
}

/* --- The environment ---------------------------------------------------------------------- */

proctype environment()
{
	byte crashes = CRASHES;
	byte stops = STOPS;
	byte keeper_kills = KEEPER_KILLS;
	byte vmm_kills = VMM_KILLS;
	do
	:: atomic { crashes > 0 && daemon_up && !daemon_crash && !daemon_stop ->
		daemon_crash = true; crashes = crashes - SPENT }
	:: atomic { stops > 0 && daemon_up && !daemon_crash && !daemon_stop ->
		daemon_stop = true; stops = stops - SPENT }
	:: atomic { vmm_kills > 0 && vmm_alive[0] -> vmm_kill[0] = true; vmm_kills-- }
	:: atomic { keeper_kills > 0 && keeper_alive[0] -> keeper_kill[0] = true; keeper_kills-- }
#if NVM > 1
	:: atomic { keeper_kills > 0 && keeper_alive[1] -> keeper_kill[1] = true; keeper_kills-- }
#endif
	:: atomic {
		crashes = 0;
		stops = 0;
		keeper_kills = 0;
		vmm_kills = 0;
#if ENDLESS
		kicks = 0;
		send_failures = 0;
		calm = true
#endif
	   };
	   break
	od
}

/* --- What must hold when nobody can take a step any more ---------------------------------- */

inline monitor_guest(v)
{
	G5_job_waits_for_ever = !stuck[v] && keeper_alive[v] &&
		(job[v] != IDLE || bell[v] > 0 || freed[v] || !vmm_alive[v]);
	assert(!G5_job_waits_for_ever);
	i = 0;
	do
	:: i < NR ->
		G2_set_aside_and_forgotten = !stuck[v] &&
			(fate[I(v, i)] == ASIDE || fate[I(v, i)] == TAKEN);
		assert(!G2_set_aside_and_forgotten);
		i++
	:: else -> break
	od;
	G5_slot_lost = daemon_up && !stuck[v] && running[v];
	assert(!G5_slot_lost);
	G8_outcome_lost = daemon_up && !stuck[v] && link[v] == OPEN && owed[v] != 0;
	assert(!G8_outcome_lost)
}

proctype monitor()
{
end_monitor:
	atomic {
		timeout ->
		monitor_guest(0);
#if NVM > 1
		monitor_guest(1)
#endif
	}
}

/* --- What must happen in the end ---------------------------------------------------------- */

/*
 * every_job_ends: once no more faults come, a time comes after which nothing is unfinished. Until
 * then the daemon's side may fail any number of times; afterwards it is up, or stays away.
 *
 * Weak fairness is what a scheduler gives: a process that can always take a step takes one. So a
 * clock runs out, a crashed daemon is started again or stays away, and the environment, which may
 * be calm at any time, is not made to. It does not say which step a process takes. So of a worker
 * that connects, is refused, connects again, and so on, we assume besides:
 * - CLOCK_RUNS: a fail-open clock that always runs, runs out;
 * - LOOKS: an idle worker looks at its bell and at its VMM each time round.
 *
 * Jobs and fates only go forward. So in a cycle every job, bell and fate stays as it is:
 * "unfinished again and again", which the claim looks for, is "never finished", and no worker
 * goes from one of the two assumptions to the other.
 *
 * Who is counted and refused for ever is overdue in the end; here only who is stuck or resting is.
 */
#if ENDLESS
#define SET_ASIDE(v, k) (fate[I(v, k)] == ASIDE || fate[I(v, k)] == TAKEN)
#if NR > 2
#define ANY_SET_ASIDE(v) (SET_ASIDE(v, 0) || SET_ASIDE(v, 1) || SET_ASIDE(v, 2))
#elif NR > 1
#define ANY_SET_ASIDE(v) (SET_ASIDE(v, 0) || SET_ASIDE(v, 1))
#else
#define ANY_SET_ASIDE(v) SET_ASIDE(v, 0)
#endif
#define CALLED(v) (bell[v] > 0 || freed[v] || !vmm_alive[v])
#define SLOT_TAKEN(v) (daemon_up && running[v] && !REFUSES && !BUG(CRASHES_FOR_EVER))
#define UNFINISHED(v) (ANY_SET_ASIDE(v) || SLOT_TAKEN(v) || \
		       (keeper_alive[v] && (job[v] != IDLE || CALLED(v))))
#define CLOCK_RUNS(v) (job[v] != IDLE && !welcomed[v] && !BUG(NO_FAIL_OPEN) && \
		       !(BUG(CLOCK_RESTARTS) && link[v] == NOT))
#define LOOKS(v) (job[v] == IDLE && keeper_alive[v] && CALLED(v))
#define WAITS(v) (UNFINISHED(v) && !CLOCK_RUNS(v) && !LOOKS(v))
#if NVM > 1
#define SOMEBODY_WAITS (WAITS(0) || WAITS(1))
#else
#define SOMEBODY_WAITS WAITS(0)
#endif

never { /* every_job_ends */
finished:
	if
	:: (calm || BUG(CRASHES_FOR_EVER)) && SOMEBODY_WAITS -> goto accept_unfinished
	:: else -> goto finished
	fi;
accept_unfinished:
	if
	:: (calm || BUG(CRASHES_FOR_EVER)) && SOMEBODY_WAITS -> goto accept_unfinished
	:: else -> goto finished
	fi
}
#endif

init {
	atomic {
		byte v, k;
		kicks = KICKS;
		send_failures = SEND_FAILURES;
		begins = BEGINS;
		do
		:: v < NVM ->
			aside[v] = NONE;
			by_keeper[v] = NONE;
			by_heir[v] = NONE;
			by_vmm[v] = NONE;
			vmm_alive[v] = true;
			keeper_alive[v] = true;
			job[v] = IDLE;
			link[v] = NOT;
			k = 0;
			do
			:: k < NR -> fate[I(v, k)] = LIVE; k++
			:: else -> break
			od;
			run vmm(v);
			run vmm_thread(v);
			run heir(v);
			run keeper(v);
			v++
		:: else -> break
		od;
		v = 0;
		k = 0;
		run daemon();
		run environment();
#if !ENDLESS
		run monitor()
#endif
	}
}
