//! Numbered places: a number stays somebody's until it is given back, and then is somebody else's.

/// What stands at each number.
#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    rows: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// The number that `row` has from now on.
    pub(super) fn put(&mut self, row: T) -> usize {
        if let Some(number) = self.free.pop() {
            self.rows[number] = Some(row);
            return number;
        }
        self.rows.push(Some(row));
        self.rows.len() - 1
    }

    /// What had the number, which nobody has from now on.
    pub(super) fn take(&mut self, number: usize) -> Option<T> {
        let row = self.rows.get_mut(number)?.take()?;
        self.free.push(number);
        Some(row)
    }

    pub(super) fn get(&self, number: usize) -> Option<&T> {
        self.rows.get(number)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.rows.get_mut(number)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(number, row)| Some((number, row.as_ref()?)))
    }
}
