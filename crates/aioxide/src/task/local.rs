//! Values that belong to a task and are copied to the tasks that it spawns.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use aioxide_core::task::with_current_meta;

use super::meta::Meta;

#[derive(Clone, Default)]
struct Values(Vec<(usize, Rc<dyn Any>)>);

impl Drop for Values {
    fn drop(&mut self) {
        // One at a time: two destructors that panic must not meet.
        for (_, value) in self.0.drain(..) {
            aioxide_core::destroy(value);
        }
    }
}

/// The values of all [`ContextVar`]s at one moment; cloning it is one count.
///
/// Each task has its own, taken from whoever spawned it. asyncio: `contextvars.Context`, which is shared when it is
/// given to `create_task`; this one is copied.
#[derive(Clone, Default)]
pub struct Context(Option<Rc<Values>>);

impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.0.as_ref().map_or(0, |values| values.0.len());
        formatter.debug_struct("Context").field("values", &values).finish()
    }
}

thread_local! {
    /// The context outside tasks.
    static OUTSIDE: RefCell<Context> = const { RefCell::new(Context(None)) };
}

/// Looks at the context of the current task, or of the thread outside tasks.
fn with_current<T>(look: impl FnOnce(&RefCell<Context>) -> T) -> T {
    let mut look = Some(look);
    let mut run = |context: &RefCell<Context>| look.take().map(|look| look(context));
    match with_current_meta::<Meta, _>(|meta| run(meta.context())) {
        Some(seen) => seen.expect("called once"),
        // At the very end of a thread there is none any more, and nobody to see what is set.
        None => OUTSIDE.try_with(&mut run).unwrap_or_else(|_| run(&RefCell::default())).expect("called once"),
    }
}

impl Context {
    /// A copy of the current one.
    pub fn current() -> Self {
        with_current(|context| context.borrow().clone())
    }

    /// Calls `call` in this context; what it sets stays in here.
    pub fn run<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let mut swapped = Swapped::begin(std::mem::take(self));
        let result = call();
        *self = swapped.end();
        result
    }

    fn get(&self, key: usize) -> Option<Rc<dyn Any>> {
        let (_, value) = self.0.as_ref()?.0.iter().find(|(held, _)| *held == key)?;
        Some(Rc::clone(value))
    }

    fn set(&mut self, key: usize, value: Option<Rc<dyn Any>>) -> Option<Rc<dyn Any>> {
        let values = &mut Rc::make_mut(self.0.get_or_insert_default()).0;
        match (values.iter().position(|(held, _)| *held == key), value) {
            (Some(at), Some(value)) => Some(std::mem::replace(&mut values[at].1, value)),
            (Some(at), None) => Some(values.swap_remove(at).1),
            (None, Some(value)) => {
                values.push((key, value));
                None
            }
            (None, None) => None,
        }
    }
}

/// Puts the context before back, also when the call panics.
struct Swapped(Option<Context>);

impl Swapped {
    fn begin(context: Context) -> Self {
        Self(Some(with_current(|current| current.replace(context))))
    }

    fn end(&mut self) -> Context {
        match self.0.take() {
            Some(before) => with_current(|current| current.replace(before)),
            None => Context::default(),
        }
    }
}

impl Drop for Swapped {
    fn drop(&mut self) {
        self.end();
    }
}

/// A value of which each task has its own; a new task starts with those of the one that spawned it.
///
/// asyncio: `contextvars.ContextVar`.
///
/// # Examples
/// ```
/// use aioxide::{ContextVar, spawn};
/// static USER: ContextVar<&str> = ContextVar::new("user");
///
/// aioxide::run(async {
///     USER.set("alice");
///     let child = spawn(async {
///         let inherited = USER.get();
///         USER.set("bob");
///         inherited
///     });
///     assert_eq!(child.await, Some("alice"));
///     assert_eq!(USER.get(), Some("alice"));
/// }).unwrap();
/// ```
pub struct ContextVar<T> {
    name: &'static str,
    _value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ContextVar<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ContextVar").field(&self.name).finish()
    }
}

/// What a [`ContextVar`] was before it was set.
#[must_use = "it is what takes the setting back"]
pub struct ResetToken<T> {
    before: Option<Rc<dyn Any>>,
    _value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ResetToken<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ResetToken")
    }
}

impl<T: 'static> ContextVar<T> {
    /// A variable without a value; it must be a `static`, whose address tells it from others.
    pub const fn new(name: &'static str) -> Self {
        Self { name, _value: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn key(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Calls `look` with the value in the current context.
    pub fn with<R>(&'static self, look: impl FnOnce(Option<&T>) -> R) -> R {
        // Taken out first: no borrow of the context is alive while `look` runs.
        let value = with_current(|context| context.borrow().get(self.key()));
        look(value.as_deref().and_then(<dyn Any>::downcast_ref))
    }

    /// A copy of the value in the current context.
    pub fn get(&'static self) -> Option<T>
    where
        T: Clone,
    {
        self.with(|value| value.cloned())
    }

    /// Sets the value in the current context.
    pub fn set(&'static self, value: T) {
        drop(self.replace(value));
    }

    /// Sets the value in the current context; the token takes it back.
    pub fn replace(&'static self, value: T) -> ResetToken<T> {
        let value: Rc<dyn Any> = Rc::new(value);
        let before = with_current(|context| context.borrow_mut().set(self.key(), Some(value)));
        ResetToken { before, _value: PhantomData }
    }

    /// Makes the value what it was before the [`replace`](Self::replace) that gave `token`.
    pub fn reset(&'static self, token: ResetToken<T>) {
        let after = with_current(|context| context.borrow_mut().set(self.key(), token.before));
        drop(after);
    }
}
