//! Which of asyncio's methods a derived class has of its own: those are called, the others are done in Rust at once.
//!
//! asyncio's queue is written so that a derived class may override any step of it. A class is looked at once: the
//! interpreter gives it a number, unique among all classes, and a new one when it or a base of it is changed.

use std::cell::{Cell, OnceCell};

use crate::ffi::{Confined, Object, Outcome, Owned, call};

/// A set of methods that are not ours. The empty one is that of `Queue` itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits(u16);

impl Traits {
    pub(super) const EMPTY: Self = Self(1);
    pub(super) const FULL: Self = Self(1 << 1);
    pub(super) const QSIZE: Self = Self(1 << 2);
    pub(super) const GET_NOWAIT: Self = Self(1 << 3);
    pub(super) const PUT_NOWAIT: Self = Self(1 << 4);
    pub(super) const WAKE: Self = Self(1 << 5);
    pub(super) const LOOP: Self = Self(1 << 6);
    /// `_get` is a method of Python's.
    pub(super) const TAKE: Self = Self(1 << 7);
    pub(super) const ADD: Self = Self(1 << 8);
    /// `_get` is `LifoQueue`'s.
    pub(super) const TAKE_LAST: Self = Self(1 << 9);
    pub(super) const ADD_LAST: Self = Self(1 << 10);
    /// `_get` is `PriorityQueue`'s.
    pub(super) const TAKE_LEAST: Self = Self(1 << 11);
    pub(super) const ADD_SORTED: Self = Self(1 << 12);

    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[inline]
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A method that may be overridden: its name, what stands there in a class of ours, and what another one means.
struct Known {
    name: Owned,
    ours: Vec<(Owned, Traits)>,
    other: Traits,
}

/// What an instance knows of its class.
pub(super) struct Seen {
    version: Cell<u32>,
    of_class: Cell<Traits>,
    /// The instance's own attributes, which stand before those of its class.
    of_instance: Cell<Traits>,
}

impl Seen {
    pub(super) const fn new() -> Self {
        Self { version: Cell::new(0), of_class: Cell::new(Traits(0)), of_instance: Cell::new(Traits(0)) }
    }

    /// What is overridden for `this`, the instance that `self` belongs to.
    #[inline]
    pub(super) fn traits(&self, this: &Object) -> Outcome<Traits> {
        let version = this.class_version();
        if version != self.version.get() || version == 0 {
            self.look(this)?;
        }
        Ok(self.of_class.get().with(self.of_instance.get()))
    }

    /// Whether nothing is overridden, as far as that is known without a look at the class.
    #[inline(always)]
    pub(super) fn is_surely_plain(&self, this: &Object) -> bool {
        let version = this.class_version();
        version != 0
            && version == self.version.get()
            && self.of_class.get().with(self.of_instance.get()).is_plain()
    }

    #[cold]
    fn look(&self, this: &Object) -> Outcome<()> {
        self.of_class.set(traits_of_class(this)?);
        self.version.set(this.class_version());
        Ok(())
    }

    /// The instance gets an attribute of its own.
    pub(super) fn note_attribute(&self, name: &Object) -> Outcome<()> {
        for known in table() {
            if known.name.is(name) || call::equal(&known.name, name)? {
                self.of_instance.set(self.of_instance.get().with(known.other));
            }
        }
        Ok(())
    }
}

const CACHED: usize = 16;

/// By version: the traits of the classes that were looked at last.
static CACHE: Confined<[Cell<(u32, Traits)>; CACHED]> =
    Confined::new([const { Cell::new((0, Traits(0))) }; CACHED]);

fn traits_of_class(this: &Object) -> Outcome<Traits> {
    let version = this.class_version();
    let place = &CACHE[version as usize % CACHED];
    if version != 0 && place.get().0 == version {
        return Ok(place.get().1);
    }
    let mut traits = Traits::default();
    for known in table() {
        let found = call::get_attribute(this.class(), &known.name)?;
        let meant = known.ours.iter().find(|(ours, _)| ours.is(&found));
        traits = traits.with(meant.map_or(known.other, |(_, meant)| *meant));
    }
    // Looking a name up is what gives a class its number.
    let version = this.class_version();
    CACHE[version as usize % CACHED].set((version, traits));
    Ok(traits)
}

static TABLE: Confined<OnceCell<Vec<Known>>> = Confined::new(OnceCell::new());

fn table() -> &'static [Known] {
    TABLE.get().map_or(&[], Vec::as_slice)
}

/// Notes which methods are ours: those of the three classes, and what these take over from asyncio.
pub(super) fn learn(fifo: &Object, lifo: &Object, sorted: &Object) -> Outcome<()> {
    let plain = Traits::default();
    let simple = |other| (other, plain, plain, plain);
    let methods = [
        (c"empty", simple(Traits::EMPTY)),
        (c"full", simple(Traits::FULL)),
        (c"qsize", simple(Traits::QSIZE)),
        (c"get_nowait", simple(Traits::GET_NOWAIT)),
        (c"put_nowait", simple(Traits::PUT_NOWAIT)),
        (c"_wakeup_next", simple(Traits::WAKE)),
        (c"_get_loop", simple(Traits::LOOP)),
        (c"_get", (Traits::TAKE, plain, Traits::TAKE_LAST, Traits::TAKE_LEAST)),
        (c"_put", (Traits::ADD, plain, Traits::ADD_LAST, Traits::ADD_SORTED)),
    ];
    let mut table = Vec::new();
    for (text, (other, of_fifo, of_lifo, of_sorted)) in methods {
        let name = call::interned(text)?;
        let mut ours = Vec::new();
        for (class, meant) in [(fifo, of_fifo), (lifo, of_lifo), (sorted, of_sorted)] {
            ours.push((call::get_attribute(class, &name)?, meant));
        }
        table.push(Known { name, ours, other });
    }
    let _ = TABLE.set(table);
    Ok(())
}
